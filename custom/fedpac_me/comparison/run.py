# SPDX-License-Identifier: Apache-2.0
"""One run of a comparison, from a configuration to a folder that is complete or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedpac_me.comparison.plan import IDENTITY_FILE, PlannedRun
from fedpac_me.config import Config, parse_config
from fedpac_me.data.pooling import write_linked_root, write_pooled_root
from fedpac_me.engine import Outcome, run_federation
from fedpac_me.evaluation.report import write_report
from fedpac_me.evaluation.run_record import FINAL_MODEL
from fedpac_me.hardware import machine, versions
from fedpac_me.run_info import weights_hash
from fedpac_me.storage import write_json

CONFIG_FILE = "config.json"
PARTIAL = ".partial-"
_KEPT_OF_A_SITE = "pictures"


@dataclass(frozen=True)
class Task:
    """A run as another process is told of it: builtins and paths. ``cache`` takes the prepared scans of all runs."""

    title: str
    config: dict[str, Any]
    root: Path
    folder: Path
    cache: Path
    identity: dict[str, Any]
    data: dict[str, Any]

    @classmethod
    def of(cls, run: PlannedRun, cache: Path) -> Task:
        """What ``run`` needs."""
        config, data = run.config.to_dict(), run.data
        return cls(run.title, config, data.root.resolve(), run.folder, cache, run.identity, {data.name: data.facts})

    @property
    def rounds(self) -> int:
        """How many it trains."""
        return self.config["federation"]["rounds"]


def execute(task: Task, round_closed: Callable[[str], None]) -> None:
    """Train, evaluate, and write the run's folder, which appears when everything is in it.

    It holds ``config.json``, ``run.json``, ``ledger.json``, ``cross_val_results.json``, ``report.html``,
    ``report.json``, ``cases.csv``, ``identity.json``, and a picture of one case a site. ``round_closed`` is told each
    round in a line.

    Raises:
        InputError: bad data.
        TrainingFailed: a loss is not finite.
    """
    config = parse_config(task.config)
    task.folder.parent.mkdir(parents=True, exist_ok=True)
    # Of this process alone: one whose parent was killed may still be at work on the same run.
    work = task.folder.parent / f"{PARTIAL}{task.folder.name}-{os.getpid()}"
    start = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="fedpac_me_run_") as folder:
            root = _linked(task, config, Path(folder))
            outcome = run_federation(config, root, work, round_closed)
        _drop_working_files(work)
        _write(work, task, config, outcome, time.monotonic() - start)
        shutil.rmtree(task.folder, ignore_errors=True)  # where somebody has taken its identity away
        os.replace(work, task.folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def remove_leftovers(runs: Path) -> None:
    """Delete what runs that were killed have left below ``runs``; nobody may be running there."""
    for folder in runs.glob(f"{PARTIAL}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _linked(task: Task, config: Config, folder: Path) -> Path:
    """The data with one place for all runs' prepared scans, and the pooled site where the method wants it."""
    write_linked_root(task.root, folder / "sites", task.cache)
    if not config.pooled:
        return folder / "sites"
    write_pooled_root(folder / "sites", folder / "pooled", task.cache)
    return folder / "pooled"


def _drop_working_files(work: Path) -> None:
    """Optimisers' states and what else the sites keep while they train: large, and of no use any more."""
    for path in [path for site in work.iterdir() if site.is_dir() for path in site.iterdir()]:
        if path.is_dir() and path.name != _KEPT_OF_A_SITE:
            shutil.rmtree(path)
        elif not path.is_dir():
            path.unlink()


def _write(work: Path, task: Task, config: Config, outcome: Outcome, seconds: float) -> None:
    models = {**outcome.local_evaluations, FINAL_MODEL: outcome.evaluations}
    sites = sorted({site for found in models.values() for site in found})
    results = {site: {name: found[site] for name, found in models.items() if site in found} for site in sites}
    name = next(iter(task.data))
    content = {
        "name": task.title,
        "config": config.to_dict(),
        "config_hash": config.hash,
        "model_hash": weights_hash(outcome.weights),
        "versions": versions(),
        "hardware": machine(),
        "seconds_total": round(seconds, 1),
        "data": {"name": name, **task.data[name]},
        "validation": outcome.validations,
    }
    write_json(work / CONFIG_FILE, config.to_dict())
    write_json(work / "run.json", content)
    write_json(work / "cross_val_results.json", results)
    outcome.ledger.save(work / "ledger.json")
    write_report(work)
    write_json(work / IDENTITY_FILE, task.identity)
