# SPDX-License-Identifier: Apache-2.0
"""The 369 training cases of BraTS2020: their ids and grades, and the answers that are known about them."""

from __future__ import annotations

import csv
from pathlib import Path

IDS = Path(__file__).parent / "unit" / "brats2020_ids.csv"
HEADER = (
    "Grade,BraTS_2017_subject_ID,BraTS_2018_subject_ID,TCGA_TCIA_subject_ID,BraTS_2019_subject_ID,BraTS_2020_subject_ID"
)

SOURCES = (
    ("CBICA", "HGG", 1, 129),
    ("2013", "HGG", 130, 149),
    ("TMC", "HGG", 150, 157),
    ("TCIA01", "HGG", 158, 179),
    ("TCIA02", "HGG", 180, 213),
    ("TCIA03", "HGG", 214, 225),
    ("TCIA04", "HGG", 226, 233),
    ("TCIA05", "HGG", 234, 237),
    ("TCIA06", "HGG", 238, 245),
    ("TCIA08", "HGG", 246, 259),
    ("2013", "LGG", 260, 269),
    ("TMC", "LGG", 270, 270),
    ("TCIA09", "LGG", 271, 281),
    ("TCIA10", "LGG", 282, 316),
    ("TCIA12", "LGG", 317, 322),
    ("TCIA13", "LGG", 323, 335),
    ("NEW2020", "HGG", 336, 369),
)
"""Source, grade, first and last number of each run of cases."""


def case_id(number: int) -> str:
    """The id of the case with that number."""
    return f"BraTS20_Training_{number:03}"


def known_cases() -> list[dict[str, str]]:
    """One row a case, its partition in FeTS 2021 included where it has one."""
    with open(IDS, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_name_mapping(folder: Path, numbers: range = range(1, 370)) -> Path:
    """The rows of those cases as BraTS2020 publishes them, in ``folder/name_mapping.csv``."""
    wanted = {case_id(number) for number in numbers}
    rows = [
        f"{case['grade']},NA,NA,NA,{case['brats2019_id'] or 'NA'},{case['brats2020_id']}"
        for case in known_cases()
        if case["brats2020_id"] in wanted
    ]
    path = folder / "name_mapping.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return path
