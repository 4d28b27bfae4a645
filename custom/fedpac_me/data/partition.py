# SPDX-License-Identifier: Apache-2.0
"""Which case belongs to which site of a simulated federation: the real hospitals, or hospitals made up by a rule.

All scans of a patient go to one site.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from fedpac_me.data.institutions import Subject, physical_site, read_table
from fedpac_me.errors import InputError

Sites = dict[str, list[str]]
"""Ids of each site's cases, both in order of their names."""

SMALL_SITE = "small"
_NO_GRADE_SITE = "unknown"
_PARTITION, _SUBJECT = "Partition_ID", "Subject_ID"
_VISIT = re.compile(r"(BraTS-[A-Za-z]+-[0-9]+)-[0-9]{3}")
_FEWEST_DEALT = 8
_MOST_DRAWS = 1000


def patient_of(case_id: str) -> str:
    """Whose scan it is. From 2023 on BraTS has several scans of one patient: ``BraTS-GLI-00005-000`` and ``-001``."""
    match = _VISIT.fullmatch(case_id)
    return match[1] if match else case_id


def by_institution(ids: Iterable[str], subjects: Mapping[str, Subject], merge_physical: bool = False) -> Sites:
    """One site an institution; with ``merge_physical`` those that are one hospital are one site.

    Raises:
        InputError: the mapping does not know a case.
    """
    ids = list(ids)
    require_known(ids, subjects, "The name mapping")
    names = {id_: subjects[id_].institution for id_ in ids}
    return _grouped({id_: physical_site(name) if merge_physical else name for id_, name in names.items()})


def by_grade(ids: Iterable[str], grades: Mapping[str, str]) -> Sites:
    """One site a grade: as far from identically distributed as it gets.

    Raises:
        InputError: no grade is known.
    """
    ids = list(ids)
    if not any(grades.get(id_) for id_ in ids):
        raise InputError(
            "No case's grade is known, so there is nothing to split by. Give --mapping name_mapping.csv, or write "
            '{"grade": "HGG"} into the acquisition.json of each case.'
        )
    return _grouped({id_: grades.get(id_) or _NO_GRADE_SITE for id_ in ids})


def by_fets(ids: Iterable[str], path: Path) -> Sites:
    """One site a partition of FeTS' ``partitioning_*.csv``; its columns may be in any order, its numbers padded.

    Raises:
        InputError: not such a file, it puts a case into two partitions, or it does not know one.
    """
    ids = list(ids)
    places: dict[str, str] = {}
    for row in read_table(path, (_PARTITION, _SUBJECT)):
        subject, place = _unpadded(row[_SUBJECT]), f"fets-{_padded(row[_PARTITION])}"
        if places.setdefault(subject, place) != place:
            raise InputError(f"{path} puts {row[_SUBJECT]} into two partitions. A case belongs to one.")
    known = {id_: place for id_ in ids if (place := places.get(_unpadded(id_)) or places.get(_number(id_)))}
    require_known(ids, known, str(path))
    return _grouped(known)


def iid(ids: Iterable[str], sites: int, seed: int) -> Sites:
    """Patients dealt to ``sites`` sites by chance, equally many to each.

    Raises:
        InputError: fewer patients than sites, or fewer sites than one.
    """
    patients = _by_patient(ids)
    _require_enough(len(patients), sites)
    order = _shuffled(patients, f"iid/{seed}")
    return _named([order[number::sites] for number in range(sites)], patients)


def dirichlet(ids: Iterable[str], grades: Mapping[str, str], sites: int, alpha: float, seed: int) -> Sites:
    """Patients of each grade dealt to ``sites`` sites by shares drawn from a symmetric Dirichlet distribution.

    A small ``alpha`` gives each site mostly one grade and uneven sizes, a large one equal sites. Draws that leave a
    site with next to nothing are thrown away, as is usual.

    Raises:
        InputError: fewer patients than sites, a wrong ``alpha``, or none of many draws gives every site its fewest.
    """
    if not 0 < alpha < float("inf"):
        raise InputError(f"--alpha is {alpha:g}; expected a number above 0, such as 0.5.")
    patients = _by_patient(ids)
    _require_enough(len(patients), sites)
    strata: dict[str, list[str]] = defaultdict(list)
    for patient in _shuffled(patients, f"dirichlet/{seed}"):
        strata[grades.get(patients[patient][0], "")].append(patient)
    fewest = max(1, min(_FEWEST_DEALT, len(patients) // (2 * sites)))
    rng = np.random.default_rng(seed)
    for _ in range(_MOST_DRAWS):
        dealt: list[list[str]] = [[] for _ in range(sites)]
        for grade in sorted(strata):
            shares = rng.dirichlet([alpha] * sites)
            ends = np.rint(np.cumsum(shares)[:-1] * len(strata[grade])).astype(int)
            for site, members in zip(dealt, np.split(np.array(strata[grade]), ends), strict=True):
                site.extend(members.tolist())
        if min(map(len, dealt)) >= fewest:
            return _named(dealt, patients)
    raise InputError(
        f"None of {_MOST_DRAWS} draws with --alpha {alpha:g} gives each of {sites} sites at least {fewest} of the "
        f"{len(patients)} patients. Take a larger --alpha or fewer --sites."
    )


def merge_small(sites: Sites, fewest: int, keep: Collection[str] = ()) -> tuple[Sites, str]:
    """Put the sites with fewer than ``fewest`` cases, but those to ``keep``, into one; also say what was done.

    A single one stays as it is: under another name it would not be larger.
    """
    small = [name for name, ids in sites.items() if len(ids) < fewest and name not in keep]
    if not small:
        return sites, f"Every site has at least {fewest} cases; none was merged."
    if len(small) == 1:
        count = len(sites[small[0]])
        return sites, f"{small[0]} alone has fewer than {fewest} cases ({count}); there is none to merge it with."
    merged = {name: ids for name, ids in sites.items() if name not in small}
    merged[SMALL_SITE] = sorted(id_ for name in small for id_ in sites[name])
    still = "" if len(merged[SMALL_SITE]) >= fewest else f", still fewer than {fewest}"
    said = f"Merged into the site '{SMALL_SITE}': {', '.join(small)} ({len(merged[SMALL_SITE])} cases{still})."
    return dict(sorted(merged.items())), said


def require_known(ids: Iterable[str], known: Collection[str], source: str) -> None:
    """Raise ``InputError`` naming the first few of ``ids`` that are not ``known``."""
    unknown = sorted(id_ for id_ in ids if id_ not in known)
    if unknown:
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise InputError(
            f"{source} does not know {', '.join(unknown[:5])}{more}. Every case of the data folder must be in it; move "
            "others out of the folder or add them."
        )


def _grouped(places: Mapping[str, str]) -> Sites:
    sites: Sites = defaultdict(list)
    for id_ in sorted(places):
        sites[places[id_]].append(id_)
    return dict(sorted(sites.items()))


def _by_patient(ids: Iterable[str]) -> dict[str, list[str]]:
    return _grouped({id_: patient_of(id_) for id_ in ids})


def _shuffled(names: Iterable[str], key: str) -> list[str]:
    """By a keyed hash: the same order on every machine and with every version of every library."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{key}/{name}".encode()).digest())


def _named(dealt: Sequence[Sequence[str]], patients: Mapping[str, Sequence[str]]) -> Sites:
    width = len(str(len(dealt)))
    return {
        f"site-{number:0{width}}": sorted(id_ for patient in members for id_ in patients[patient])
        for number, members in enumerate(dealt, start=1)
    }


def _require_enough(patients: int, sites: int) -> None:
    if not 1 <= sites <= patients:
        raise InputError(f"--sites is {sites}; expected 1 or more, and no more than there are patients: {patients}.")


def _padded(partition: str) -> str:
    return f"{int(partition):02}" if partition.isdecimal() else partition


def _unpadded(subject: str) -> str:
    """Without the zeros that fill its last number up: FeTS21_Training_001 is FeTS21_Training_1."""
    match = re.fullmatch(r"(.*?)0*([0-9]+)", subject)
    return match[1] + match[2] if match else subject


def _number(subject: str) -> str:
    """The last number alone, which is all that some lists name."""
    match = re.search(r"0*([0-9]+)$", subject)
    return match[1] if match else subject
