# SPDX-License-Identifier: Apache-2.0
"""The demo's five hospitals: which scanners they own, whom they treat, and which cases they contribute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedpac_me.labels import MODALITIES

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Hospital:
    """One site.

    Attributes:
        name: the folder and the site name in the federation.
        description: one line for the reader.
        role: "train" or "evaluate".
        cases: number of cases per part, in the order of ``PARTS``.
        protocols: share of its scans made with each protocol.
        high_grade: share of its patients with a high-grade glioma.
        tumour_size: typical share of the brain's volume that a tumour takes.
        brightness: typical mean raw intensity of the brain per modality, in the order of ``MODALITIES``.
        missing: modalities that it never acquires.
    """

    name: str
    description: str
    role: str
    cases: tuple[int, int, int]
    protocols: dict[str, float]
    high_grade: float
    tumour_size: float
    brightness: tuple[float, float, float, float]
    missing: tuple[str, ...] = ()

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it acquires, in the order of ``MODALITIES``."""
        return tuple(modality for modality in MODALITIES if modality not in self.missing)


HOSPITALS = (
    Hospital(
        "site-1", "large centre, mostly high-grade", "train", (24, 6, 12), {"P0": 0.7, "P1": 0.3},
        high_grade=0.9, tumour_size=0.085, brightness=(490, 760, 780, 305),
    ),
    Hospital(
        "site-2", "middle-sized, three scanners", "train", (16, 5, 12), {"P1": 0.5, "P2": 0.3, "P3": 0.2},
        high_grade=0.8, tumour_size=0.080, brightness=(250, 1150, 320, 700),
    ),
    Hospital(
        "site-3", "small, acquires no FLAIR", "train", (10, 4, 12), {"P2": 0.5, "P0": 0.5},
        high_grade=0.85, tumour_size=0.090, brightness=(900, 35, 1000, 500), missing=("flair",),
    ),
    Hospital(
        "site-4", "small, mostly low-grade gliomas, smaller tumours", "train", (8, 4, 12), {"P3": 0.65, "P0": 0.35},
        high_grade=0.25, tumour_size=0.060, brightness=(180, 400, 120, 95),
    ),
    Hospital(
        "site-5", "never trains; every known protocol and one that nobody else has", "evaluate", (0, 0, 20),
        {"P0": 0.15, "P1": 0.2, "P2": 0.15, "P3": 0.2, "P4": 0.3},
        high_grade=0.75, tumour_size=0.080, brightness=(600, 180, 500, 200),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class CasePlan:
    """One case to be written; ``rng_key`` with the phantom's seed decides every random number in it."""

    id: str
    hospital: Hospital
    part: str
    protocol: str
    grade: str
    rng_key: tuple[int, int, int]


def plan_cases(seed: int, hospitals: Sequence[Hospital] = HOSPITALS) -> list[CasePlan]:
    """Every case of the phantom. Protocols and grades keep their shares in every part of every hospital."""
    plans: list[CasePlan] = []
    for site, hospital in enumerate(hospitals):
        for part, (name, count) in enumerate(zip(PARTS, hospital.cases, strict=True)):
            kinds = _kinds(hospital, count)
            order = np.random.default_rng([seed, site, part]).permutation(count)
            for index, position in enumerate(order):
                protocol, grade = kinds[position]
                case_id = f"BraTS20_Training_{len(plans) + 1:03}"
                plans.append(CasePlan(case_id, hospital, name, protocol, grade, (site, part, index)))
    return plans


def _kinds(hospital: Hospital, count: int) -> list[tuple[str, str]]:
    """Protocol and grade of each case; the grades are spread evenly over the protocols."""
    numbers = apportion(tuple(hospital.protocols.values()), count)
    names = [name for name, number in zip(hospital.protocols, numbers, strict=True) for _ in range(number)]
    marks = np.floor((np.arange(count + 1) + 0.5) * hospital.high_grade)
    return [(name, "HGG" if high else "LGG") for name, high in zip(names, np.diff(marks) > 0, strict=True)]


def apportion(shares: tuple[float, ...], count: int) -> list[int]:
    """Split ``count`` into whole numbers nearest to ``shares`` (largest remainders; ties go to the earlier)."""
    exact = [share * count for share in shares]
    numbers = [int(value + 1e-9) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: (round(numbers[i] - exact[i], 9), i))
    for i in by_remainder[: count - sum(numbers)]:
        numbers[i] += 1
    return numbers
