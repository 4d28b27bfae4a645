# SPDX-License-Identifier: Apache-2.0
"""Dice with and without rounded messages, on the phantom, in one process: no byte of it depends on FLARE."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedpac_me.config import Config, load_config
from fedpac_me.data.phantom import write_phantom
from fedpac_me.engine import run_federation
from fedpac_me.evaluation.statistics import CaseKey, Interval, bootstrap_runs, difference
from fedpac_me.labels import REGIONS

ROOT = Path(__file__).parents[3]
CONFIG = ROOT / "app_configs/fedpac_me.json"
KEPT = ROOT / "docs/results/bytes.jsonl"
DATA = ROOT / "build/bench/phantom-0"
SMALLER: dict[str, Any] = {"data": {"crop": 16}, "evaluation": {"overlap": 0.0}}
"""Than in the config, as in ``attacks.py``."""
ROUNDS = 12
PLAIN = "float32"
FORMATS: dict[str, dict[str, str]] = {
    PLAIN: {},
    "upload and download float16": {"upload": "float16", "download": "float16"},
    "upload float16": {"upload": "float16"},
}
"""Name of the row: what is changed in the section `federation`."""

Scores = dict[CaseKey, float]


def section(seeds: Sequence[int]) -> list[str]:
    """The page's lines; runs what is missing."""
    found = {name: [_scores(_measured(_config(name, seed))) for seed in seeds] for name in FORMATS}
    lines = [
        f"| messages, {len(seeds)} seeds | Dice [95 %] | against {PLAIN} [95 %] | largest change of a case |",
        "|---|---|---|---|",
    ]
    for name, runs in found.items():
        changes = [difference(run, plain) for run, plain in zip(runs, found[PLAIN], strict=True)]
        largest = max(abs(change) for run in changes for change in run.values())
        change = _shown(bootstrap_runs([changes]), "+.4f")
        lines.append(f"| {name} | {_shown(bootstrap_runs([runs]), '.3f')} | {change} | {largest:.3f} |")
    return lines


def _config(name: str, seed: int) -> Config:
    federation = {"rounds": ROUNDS, **FORMATS[name]}
    return load_config(CONFIG, {"seed": seed, **SMALLER, "federation": federation})


def _measured(config: Config) -> dict[str, list[float]]:
    """Mean Dice by site and case; taken from ``KEPT`` where this config was run before."""
    known = [json.loads(line) for line in KEPT.read_text().splitlines()] if KEPT.exists() else []
    for found in known:
        if found["config"] == config.hash:
            return found["cases"]
    if not DATA.exists():
        write_phantom(DATA, seed=0)
    print(f"Running seed {config.seed}, {config.federation.upload} up ...", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="fedpac_me_bytes_") as folder:
        outcome = run_federation(config, DATA, Path(folder), lambda line: print(line, file=sys.stderr))
    cases = {
        site: [float(np.mean([case[f"dice_{region}"] for region in REGIONS])) for case in found["cases"]]
        for site, found in outcome.evaluations.items()
    }
    with open(KEPT, "a", encoding="utf-8") as file:
        file.write(json.dumps({"config": config.hash, "cases": cases}) + "\n")
    return cases


def _scores(cases: dict[str, list[float]]) -> Scores:
    return {(site, number): dice for site, found in cases.items() for number, dice in enumerate(found)}


def _shown(found: Interval, form: str) -> str:
    return f"{found.mean:{form}} [{found.low:{form}}, {found.high:{form}}]"
