# SPDX-License-Identifier: Apache-2.0
"""Job folders to measure with: the project's own, with one class at the sites or at the server replaced."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from fedpac_me.config import parse_config
from fedpac_me.flare.aggregator import ExpertWiseAggregator
from fedpac_me.flare.executor import FedPacMeExecutor
from fedpac_me.flare.recipe import FedPacMeRecipe
from fedpac_me.storage import read_json, write_json

IN_JOB = Path(__file__).parent / "in_job"
CONTRIBUTIONS = Path(__file__).parents[2] / "federation" / "contributions.py"
"""What an honest site sends; the tests of the wire contract have it already."""

IDLE = "idle_executor.IdleExecutor"
STAMPED = "stamped_executor.StampedExecutor"
PROBED = "probed_aggregator.ProbedAggregator"

WIDTHS = {"0.3 M": 4, "4.8 M": 16, "29.6 M": 40}
"""Filters of the network by the number of its parameters: four experts with adapters of rank 4."""

TINY = {
    "model": {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1]},
    "data": {"crop": 16},
    "learning": {"steps_per_round": 2, "batch": 2},
}
"""Sections of a configuration that trains next to nothing."""


def sized(size: str, rounds: int) -> dict[str, Any]:
    """A configuration of the method's network with as many parameters as ``size`` says."""
    model = {"filters": WIDTHS[size], "blocks_down": [1, 2, 2, 4], "blocks_up": [1, 1, 1]}
    return {"model": {**model, "experts": 4, "adapter_rank": 4}, "federation": {"rounds": rounds}}


def write_job(
    folder: Path,
    name: str,
    config: dict[str, Any],
    executor: str | None = IDLE,
    aggregator: str | None = PROBED,
    arguments: dict[str, Any] | None = None,
) -> Path:
    """Write ``folder/name``: the job of ``config`` with another executor and aggregator, whose code travels in it.

    ``None`` leaves the project's own; ``arguments`` stand for those of its aggregator.
    """
    parsed = parse_config({"method": name, "title": "A federation to measure", **config})
    FedPacMeRecipe(parsed, name).export(str(folder))
    app = folder / name / "app"
    if executor is not None:
        _replace(app / "config/config_fed_client.json", FedPacMeExecutor, executor)
    if aggregator is not None:
        _replace(app / "config/config_fed_server.json", ExpertWiseAggregator, aggregator, arguments)
    for module in (*IN_JOB.glob("*.py"), CONTRIBUTIONS):
        shutil.copy(module, app / "custom")
    return folder / name


def _replace(file: Path, old: type, new: str, arguments: dict[str, Any] | None = None) -> None:
    """Name another class in a FLARE configuration; its arguments stay unless there are others."""
    content = read_json(file)
    parts = [entry["executor"] for entry in content.get("executors", [])] + content.get("components", [])
    (part,) = [part for part in parts if part["path"] == f"{old.__module__}.{old.__name__}"]
    part["path"] = new
    if arguments is not None:
        part["args"] = arguments
    write_json(file, content)
