# SPDX-License-Identifier: Apache-2.0
"""From what the user asks for to a split of a folder of cases: ``fedpac-me split`` without its command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fedpac_me.data.federation_split import FederationSplit, split_sites
from fedpac_me.data.institutions import NAME_MAPPING_FILE, Subject, read_name_mapping
from fedpac_me.data.layouts import Case, LayoutKey, acquisition_facts, find_cases, layout_named, require_complete
from fedpac_me.data.partition import (
    Sites,
    by_fets,
    by_grade,
    by_institution,
    dirichlet,
    iid,
    merge_small,
    patient_of,
    require_known,
)
from fedpac_me.errors import InputError
from fedpac_me.labels import MODALITIES

By = Literal["institution", "grade", "iid", "dirichlet", "fets"]
_DEFAULT_SITES, _DEFAULT_ALPHA = 8, 0.5


@dataclass(frozen=True)
class SplitRequest:
    """The options of ``fedpac-me split``."""

    data: Path
    layout: LayoutKey | None = None
    mapping: Path | None = None
    fets: Path | None = None
    by: By | None = None
    sites: int | None = None
    alpha: float | None = None
    merge_physical_sites: bool = False
    min_cases: int | None = None
    leave_out: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """A split, what it was made from, and what the user should know about it."""

    split: FederationSplit
    cases: dict[str, Case]
    grades: dict[str, str]
    notes: tuple[str, ...]


def plan_split(request: SplitRequest) -> Plan:
    """Find the cases, make sites of them, split each.

    Raises:
        InputError: options that do not go together, bad tables, cases that a table does not know or without
            segmentation, sites that cannot be made or split.
    """
    by = _require_consistent(request)
    cases = {case.id: case for case in find_cases([request.data], layout_named(request.layout))}
    for case in cases.values():
        require_complete(case, max_missing=len(MODALITIES) - 1)
    mapping = request.mapping or mapping_beside(request.data)
    subjects = read_name_mapping(mapping) if mapping is not None else {}
    notes = _mapping_notes(mapping, subjects, cases)
    grades = {id_: grade_of(case, subjects) for id_, case in cases.items()}
    sites = _partition(request, by, mapping, subjects, grades)
    if request.min_cases is not None:
        sites, said = merge_small(sites, request.min_cases, request.leave_out)
        notes.append(said)
    split = FederationSplit(
        data=request.data,
        layout=request.layout,
        sites=split_sites(sites, request.seed, request.leave_out),
        how=_how(request, by, mapping),
    )
    return Plan(split, cases, grades, tuple(notes + _empty_parts(split)))


def _require_consistent(request: SplitRequest) -> By:
    """What to split by; raises ``InputError`` when an option would be without effect."""
    if request.fets is not None and request.by is not None:
        raise InputError("--fets names the site of every case already; leave out --by.")
    by: By = "fets" if request.fets is not None else request.by or "institution"
    if request.merge_physical_sites and by != "institution":
        raise InputError("--merge-physical-sites is about institutions; it goes with --by institution only.")
    if request.sites is not None and by not in ("iid", "dirichlet"):
        raise InputError("--sites goes with --by iid and --by dirichlet only; otherwise the data has its own sites.")
    if request.alpha is not None and by != "dirichlet":
        raise InputError("--alpha goes with --by dirichlet only.")
    if request.min_cases is not None and request.min_cases < 1:
        raise InputError(f"--min-cases is {request.min_cases}; expected 1 or more.")
    if request.seed < 0:
        raise InputError(f"--seed is {request.seed}; expected 0 or more.")
    return by


def _partition(
    request: SplitRequest, by: By, mapping: Path | None, subjects: Mapping[str, Subject], grades: Mapping[str, str]
) -> Sites:
    sites = _DEFAULT_SITES if request.sites is None else request.sites
    if request.fets is not None:
        return by_fets(grades, request.fets)
    if by == "grade":
        return by_grade(grades, grades)
    if by == "iid":
        return iid(grades, sites, request.seed)
    if by == "dirichlet":
        alpha = _DEFAULT_ALPHA if request.alpha is None else request.alpha
        return dirichlet(grades, grades, sites, alpha, request.seed)
    if mapping is None:
        raise InputError(
            f"Nothing says which institution a case came from: {request.data} holds no {NAME_MAPPING_FILE}. Name one "
            "with --mapping, or a FeTS partitioning with --fets, or make up sites with --by grade, iid or dirichlet."
        )
    require_known(grades, subjects, str(mapping))
    return by_institution(grades, subjects, request.merge_physical_sites)


def mapping_beside(data: Path) -> Path | None:
    """The ``name_mapping.csv`` in a data folder, if there is one."""
    path = data / NAME_MAPPING_FILE
    return path if path.is_file() else None


def _mapping_notes(mapping: Path | None, subjects: Mapping[str, Subject], cases: Mapping[str, Case]) -> list[str]:
    if mapping is None:
        return []
    known = len(subjects.keys() & cases.keys())
    return [f"{mapping} lists {len(subjects)} cases, of which {known} are here; {len(cases)} cases are here in all."]


def grade_of(case: Case, subjects: Mapping[str, Subject]) -> str:
    """The grade by the data set's table, else by the case's own ``acquisition.json``; empty where neither knows."""
    subject = subjects.get(case.id)
    return subject.grade if subject is not None and subject.grade else acquisition_facts(case).get("grade", "")


def _how(request: SplitRequest, by: By, mapping: Path | None) -> dict[str, Any]:
    """File names without their folders: the split may be shown where the folders' names may not."""
    how: dict[str, Any] = {"by": by, "seed": request.seed}
    if by in ("iid", "dirichlet"):
        how["sites"] = _DEFAULT_SITES if request.sites is None else request.sites
    if by == "dirichlet":
        how["alpha"] = _DEFAULT_ALPHA if request.alpha is None else request.alpha
    if mapping is not None:
        how["mapping"] = mapping.name
    if request.fets is not None:
        how["fets"] = request.fets.name
    if request.merge_physical_sites:
        how["merge_physical_sites"] = True
    if request.min_cases is not None:
        how["min_cases"] = request.min_cases
    if request.leave_out:
        how["leave_out"] = sorted(request.leave_out)
    return how


def _empty_parts(split: FederationSplit) -> list[str]:
    notes = []
    for part, lack in (("validation", "has no say in which round was the best"), ("test", "has no results of its own")):
        names = [name for name, cases in split.sites.items() if cases.role == "train" and not cases.parts()[part]]
        if names:
            notes.append(f"No {part} case at {_listed(names)}, which {lack}; --min-cases 8 puts small sites into one.")
    patients = [{patient_of(id_) for id_ in cases.ids()} for cases in split.sites.values()]
    scans, people = sum(len(cases.ids()) for cases in split.sites.values()), sum(map(len, patients))
    if scans > people:
        notes.append(f"{scans} scans are of {people} patients; all scans of one are in one part of one site.")
    return notes


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
