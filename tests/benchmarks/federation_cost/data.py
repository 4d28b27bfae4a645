# SPDX-License-Identifier: Apache-2.0
"""Hospitals' folders to measure with."""

from __future__ import annotations

import json
from pathlib import Path

from cases import write_case


def site_names(number: int) -> list[str]:
    """As FLARE's simulator calls them."""
    return [f"site-{index}" for index in range(1, number + 1)]


def empty_sites(folder: Path, number: int) -> Path:
    """One empty folder a hospital: an idle site reads nothing."""
    for name in site_names(number):
        (folder / name).mkdir(parents=True)
    return folder


def tiny_sites(folder: Path, number: int) -> Path:
    """Two tiny training cases a hospital, one test case, none to validate: the first thing a site does is to train."""
    for seed, name in enumerate(site_names(number)):
        ids = [f"Case_{seed}_{index}" for index in range(3)]
        for index, case_id in enumerate(ids):
            write_case(folder / name, case_id, edge=20, seed=10 * seed + index)
        split = {"train": ids[:2], "validation": [], "test": ids[2:]}
        (folder / name / "splits.json").write_text(json.dumps(split))
    return folder
