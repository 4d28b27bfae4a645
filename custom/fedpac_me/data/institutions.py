# SPDX-License-Identifier: Apache-2.0
"""Which hospital a case of BraTS2020 came from, as far as the data set's own ``name_mapping.csv`` gives it away.

The id that a case had in BraTS2019 names its source: ``BraTS19_TCIA02_606_1`` came from TCIA02. A case that was new in
2020 has no such id, and nothing public says where it came from: all of those are one group.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedpac_me.errors import InputError

NAME_MAPPING_FILE = "name_mapping.csv"
NEW_IN_2020 = "NEW2020"
"""The group of the cases that BraTS2019 did not have."""

PHYSICAL_SITES = (("TCIA02", "TCIA10"), ("TCIA08", "TCIA09"), ("TCIA06", "TCIA12", "TCIA13"))
"""Sources that are one hospital by the site codes of their TCGA patients, its grades under a name each."""

_GRADE, _OLD_ID, _ID = "Grade", "BraTS_2019_subject_ID", "BraTS_2020_subject_ID"
_GRADES = ("HGG", "LGG")
_NOTHING = ("", "NA", "N/A", "NAN")


@dataclass(frozen=True)
class Subject:
    """What the mapping says of one case; ``grade`` is ``HGG``, ``LGG`` or empty."""

    grade: str
    institution: str


def read_name_mapping(path: Path) -> dict[str, Subject]:
    """Grade and institution of every BraTS2020 id in ``path``.

    Raises:
        InputError: the file cannot be read, lacks a column, names a case twice, or has a grade or an id of no known
            form.
    """
    subjects: dict[str, Subject] = {}
    for row in read_table(path, (_GRADE, _OLD_ID, _ID)):
        case = row[_ID]
        if case.upper() in _NOTHING:  # a case that BraTS2020 had dropped
            continue
        if case in subjects:
            raise InputError(f"{path} names {case} more than once. Each case may have one row.")
        subjects[case] = Subject(_grade(path, case, row[_GRADE]), institution_of(row[_OLD_ID]))
    return subjects


def institution_of(brats2019_id: str) -> str:
    """The source that a BraTS2019 id names, its second word; ``NEW_IN_2020`` when there is no id.

    Raises:
        InputError: the id has another form.
    """
    if brats2019_id.strip().upper() in _NOTHING:
        return NEW_IN_2020
    year, *words = brats2019_id.strip().split("_")
    if year.upper() != "BRATS19" or len(words) < 2 or not words[0].isalnum():
        raise InputError(
            f"'{brats2019_id}' is no BraTS2019 id. Expected one such as BraTS19_TCIA02_606_1, whose second word is the "
            "institution; leave it empty or write NA for a case that was new in 2020."
        )
    return words[0]


def physical_site(institution: str) -> str:
    """The name of the hospital that ``institution`` is a part of, or ``institution`` where it stands for itself."""
    return next(("-".join(parts) for parts in PHYSICAL_SITES if institution in parts), institution)


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file, stripped of blanks, its columns in any order and among others.

    Raises:
        InputError: the file cannot be read or lacks one of ``columns``.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = [[cell.strip() for cell in line] for line in csv.reader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a CSV file: {error}.") from None
    header, *body = lines or [[]]
    missing = [column for column in columns if column not in header]
    if missing:
        raise InputError(
            f"{path} has no column {' and no '.join(missing)}. Expected a CSV file whose first line names the columns "
            f"{', '.join(columns)}, in any order."
        )
    return [dict(zip(header, [*line, *[""] * len(header)], strict=False)) for line in body if any(line)]


def _grade(path: Path, case: str, text: str) -> str:
    grade = text.upper()
    if grade in _NOTHING:
        return ""
    if grade not in _GRADES:
        raise InputError(f"{path} gives {case} the grade '{text}'. Expected {' or '.join(_GRADES)}, or nothing.")
    return grade
