# SPDX-License-Identifier: Apache-2.0
"""Bytes of a round through FLARE's simulator, sites that train a step a round: real messages, counted by TCP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from federation_cost.data import tiny_sites
from federation_cost.environments import run_simulator, say
from federation_cost.figures import megabytes
from federation_cost.job import PROBED, write_job
from federation_cost.probe import ledger_bytes, wire_bytes
from fedpac_me.config import load_config, merged
from fedpac_me.storage import read_json, write_json

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / "app_configs"
SITES = 2
ROUNDS = 4
LITTLE: dict[str, Any] = {
    "data": {"crop": 16},
    "learning": {"steps_per_round": 1, "batch": 1},
    "federation": {"rounds": ROUNDS},
    "evaluation": {"validation_every": 99},
}
"""Laid over every config: the network as it is, next to no training."""
HALF = {"federation": {"upload": "float16", "download": "float16"}}
FLARES = "nvflare.app_opt.pt.quantization"


@dataclass(frozen=True)
class Row:
    """A job to count: a file of ``app_configs``, what is changed in it, and FLARE's quantisation, if any."""

    config: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    quantized: str = ""


ROWS = {
    "FedAvg of FedPAC-ME's network, float32": Row("ablations/merge_by_cases.json"),
    "FedPAC-ME, float32": Row("fedpac_me.json"),
    "FedPAC-ME, float16": Row("ablations/float16_messages.json"),
    "FedAvg, float32": Row("fedavg.json"),
    "FedAvg, float16": Row("fedavg.json", HALF),
    "FedAvg, FLARE's filters, float16": Row("fedavg.json", quantized="float16"),
    "FedAvg, FLARE's filters, adaquant": Row("fedavg.json", quantized="adaquant"),
}
REFERENCES = {"FedPAC-ME": "FedAvg of FedPAC-ME's network, float32", "FedAvg": "FedAvg, float32"}
"""What a row is divided by, by the word that it begins with."""


def section(folder: Path) -> list[str]:
    """The page's lines."""
    data = tiny_sites(folder / "data", SITES)
    found: dict[str, dict[str, tuple[float, float]] | None] = {}
    for number, (name, row) in enumerate(ROWS.items()):
        say(name)
        found[name] = _counted(folder, f"bytes{number}", row, data)
        say(json.dumps(found[name]))
    lines = [
        "| messages | MB up: arrays, wire | MB down: arrays, wire | wire against float32 FedAvg: up, down |",
        "|---|---|---|---|",
    ]
    for name, counted in found.items():
        reference = found[next(known for start, known in REFERENCES.items() if name.startswith(start))]
        lines.append(f"| {name} | {_cells(counted, reference)} |")
    return lines


def _cells(counted: Mapping[str, tuple[float, float]] | None, reference: Mapping[str, tuple[float, float]]) -> str:
    if counted is None:
        return "not measured | not measured | bitsandbytes is not installed"
    (up, down), (wire_up, wire_down) = counted["arrays"], counted["wire"]
    ratios = [mine / theirs for mine, theirs in zip(counted["wire"], reference["wire"], strict=True)]
    return (
        f"{megabytes(up)}, {megabytes(wire_up)} | {megabytes(down)}, {megabytes(wire_down)} "
        f"| {ratios[0]:.3f}, {ratios[1]:.3f}"
    )


def _counted(folder: Path, name: str, row: Row, data: Path) -> dict[str, tuple[float, float]] | None:
    """Bytes a round and site, up and down; ``None`` where FLARE's filters cannot be loaded."""
    if row.quantized and find_spec("bitsandbytes") is None:
        return None
    config = load_config(CONFIGS / row.config, merged(LITTLE, dict(row.changes)))
    content = {key: value for key, value in config.to_dict().items() if key not in ("method", "title")}
    job = write_job(folder / "jobs", name, content, executor=None, aggregator=PROBED)
    if row.quantized:
        _add_filters(job, row.quantized)
    finished = run_simulator(job, folder, data, SITES, processes=SITES)
    return {"arrays": ledger_bytes(finished), "wire": wire_bytes(finished)}


def _add_filters(job: Path, kind: str) -> None:
    """FLARE's quantisation of both directions, as its own example puts it together."""
    quantizer = {"path": f"{FLARES}.quantizer.ModelQuantizer", "args": {"quantization_type": kind}}
    dequantizer = {"path": f"{FLARES}.dequantizer.ModelDequantizer", "args": {}}
    for file, out, into in (
        ("config_fed_server.json", "task_data_filters", "task_result_filters"),
        ("config_fed_client.json", "task_result_filters", "task_data_filters"),
    ):
        path = job / "app/config" / file
        content = read_json(path)
        for key, component in ((out, quantizer), (into, dequantizer)):
            content[key] = [*content.get(key, []), {"tasks": ["train"], "filters": [component]}]
        write_json(path, content)
