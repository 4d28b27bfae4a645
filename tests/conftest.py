# SPDX-License-Identifier: Apache-2.0
"""Fixtures for all tests."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from cases import write_case
from fedpac_me.data import case_findings

# How fast examples are drawn and run says how busy the machine is, not whether the code is right.
settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """One good case."""
    return write_case(tmp_path / "site", "Case_001")


@pytest.fixture
def site_folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a site of a few cases."""

    def make(name: str = "site-1", cases: int = 4, **options) -> Path:
        for number in range(cases):
            write_case(tmp_path / "sites" / name, f"Case_{name}_{number:03}", seed=number, **options)
        return tmp_path / "sites" / name

    return make


@pytest.fixture
def split_site(site_folder: Callable[..., Path]) -> Path:
    """A site's folder: two training cases, one for validation, one for test."""
    folder = site_folder(cases=4)
    ids = sorted(path.name for path in folder.iterdir())
    (folder / "splits.json").write_text(json.dumps({"train": ids[:2], "validation": ids[2:3], "test": ids[3:]}))
    return folder


@pytest.fixture
def shape_of_the_tests_is_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cases of 24³ are as usual as BraTS' own shape; holds for one worker."""
    monkeypatch.setattr(case_findings, "BRATS_SHAPE", (24, 24, 24))


@pytest.fixture(scope="session")
def real_case() -> Path:
    """Folder of the real BraTS2020 case; skips where there is none."""
    folder = os.environ.get("FEDPAC_ME_REAL_CASE")
    if not folder:
        pytest.skip("FEDPAC_ME_REAL_CASE does not name the folder of the real BraTS2020 case")
    return Path(folder) / "BraTS20_Training_212"
