# SPDX-License-Identifier: Apache-2.0
"""Job folders to measure with: the project's own, with one class at the sites or at the server replaced."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
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

NULL_EXECUTOR = Path(__file__).parents[1] / "stock" / "null_executor.py"


@dataclass(frozen=True)
class Part:
    """A class of a job by its dotted name; with other ``arguments`` than those of the project's own, if given."""

    path: str
    arguments: dict[str, Any] | None = None


IDLE = Part("idle_executor.IdleExecutor")
STAMPED = Part("stamped_executor.StampedExecutor")
NULL = Part("null_executor.NullExecutor", {})
PROBED = Part("probed_aggregator.ProbedAggregator")
STOCK = Part(
    "nvflare.app_common.aggregators.intime_accumulate_model_aggregator.InTimeAccumulateWeightedAggregator",
    {"expected_data_kind": "WEIGHT_DIFF"},
)

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
    folder: Path, name: str, config: dict[str, Any], executor: Part | None = IDLE, aggregator: Part | None = PROBED
) -> Path:
    """Write ``folder/name``: the job of ``config`` with another executor and aggregator, whose code travels in it.

    ``None`` leaves the project's own.
    """
    parsed = parse_config({"method": name, "title": "A federation to measure", **config})
    FedPacMeRecipe(parsed, name).export(str(folder))
    app = folder / name / "app"
    if executor is not None:
        _replace(app / "config/config_fed_client.json", FedPacMeExecutor, executor)
    if aggregator is not None:
        _replace(app / "config/config_fed_server.json", ExpertWiseAggregator, aggregator)
    for module in (*IN_JOB.glob("*.py"), CONTRIBUTIONS, NULL_EXECUTOR):
        shutil.copy(module, app / "custom")
    return folder / name


def _replace(file: Path, old: type, new: Part) -> None:
    """Put another class into a FLARE configuration."""
    content = read_json(file)
    entries = [entry["executor"] for entry in content.get("executors", [])] + content.get("components", [])
    (found,) = [entry for entry in entries if entry["path"] == f"{old.__module__}.{old.__name__}"]
    found["path"] = new.path
    if new.arguments is not None:
        found["args"] = new.arguments
    write_json(file, content)
