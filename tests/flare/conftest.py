# SPDX-License-Identifier: Apache-2.0
"""Everything below this folder imports nvflare or starts its processes."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

from cases import write_case
from flare_tools import MARK, SITES, program

_NO_PROCESSES = ("test_malformed_updates.py", "test_soak.py")
"""Long, and without FLARE's processes: `make test` runs them beside those that have some."""

_OFTEN = {"probability": 0.5}
_WHOLE_METHOD = {
    "model": {"experts": 2, "adapter_rank": 2, "own": "all"},
    "router": {"far": "surest"},
    "perspectives": {"contrast": _OFTEN, "modality_drop": _OFTEN, "motion": _OFTEN},
    "contrast": {
        "prototype_weight": 0.05, "view_weight": 0.05, "view_every": 1, "start": 0.0, "ramp": 0.0, "minimum_count": 0.0,
        "dimension": 4,
    },
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and item.path.name not in _NO_PROCESSES:
            item.add_marker(pytest.mark.flare)


@pytest.fixture(scope="session")
def train_module() -> ModuleType:
    """``jobs/train.py``, imported."""
    return program("jobs/train.py")


@pytest.fixture(scope="session")
def data_stats_module() -> ModuleType:
    """``jobs/data_stats.py``, imported."""
    return program("jobs/data_stats.py")


@pytest.fixture(scope="session")
def federation_module() -> ModuleType:
    """``poc/federation.py``, imported."""
    return program("poc/federation.py")


@pytest.fixture(scope="session")
def hospitals(tmp_path_factory) -> Path:
    """Three sites of tiny cases; the last only evaluates, the second has no FLAIR."""
    root = tmp_path_factory.mktemp("hospitals")
    for number in range(1, SITES + 1):
        site = root / f"site-{number}"
        ids = [f"{MARK}_{number}_{index}" for index in range(4)]
        for index, case_id in enumerate(ids):
            write_case(site, case_id, edge=20, seed=10 * number + index, missing=("flair",) if number == 2 else ())
        (site / "splits.json").write_text(json.dumps({"train": ids[:2], "validation": ids[2:3], "test": ids[3:]}))
    (root / f"site-{SITES}" / "site.json").write_text('{"role": "evaluate"}')
    return root


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory) -> Path:
    """A config that trains next to nothing."""
    path = tmp_path_factory.mktemp("config") / "tiny.json"
    content = {
        "method": "tiny",
        "title": "Two rounds of a tiny network",
        "data": {"crop": 16},
        "model": {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1], "norm": "batch"},
        "learning": {"steps_per_round": 2, "batch": 2},
        "federation": {"rounds": 2, "server_momentum": 0.5},
        "evaluation": {"validation_every": 1},
    }
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="session")
def whole_method(tiny_config, tmp_path_factory) -> Path:
    """The tiny config with every part of the method."""
    content = json.loads(tiny_config.read_text())
    content |= _WHOLE_METHOD | {"model": content["model"] | _WHOLE_METHOD["model"]}
    path = tmp_path_factory.mktemp("experts") / "experts.json"
    path.write_text(json.dumps({**content, "method": "experts"}))
    return path
