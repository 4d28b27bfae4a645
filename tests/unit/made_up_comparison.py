# SPDX-License-Identifier: Apache-2.0
"""Comparisons made up for tests: planned runs whose folders hold made-up results, nothing trained."""

import json
from pathlib import Path

from made_up_run import write_run

from fedpac_me.comparison.datasets import DataSet
from fedpac_me.comparison.methods import Method
from fedpac_me.comparison.plan import IDENTITY_FILE, PlannedRun
from fedpac_me.config import load_config
from fedpac_me.evaluation.report import build_report, write_figures
from fedpac_me.evaluation.run_record import FINAL_MODEL, read_run

ROLES = {"site-1": "train", "site-2": "train", "site-5": "evaluate"}


def data_set(name: str = "houses", roles: dict[str, str] = ROLES, kind: str | None = None) -> DataSet:
    """Made-up sites with two test cases, then three, and so on; a phantom where it has a ``kind``."""
    sites = {
        site: {"role": role, "train": 8 if role == "train" else 0, "validation": 2, "test": 2 + at}
        for at, (site, role) in enumerate(roles.items())
    }
    phantom = {"version": 1, "kind": kind, "seed": 0, "size": [48] * 3} if kind else None
    return DataSet(name, Path("nowhere"), sites, f"hash of {name}", phantom)


def method(folder: Path, name: str, **content) -> Method:
    """A method with a file of its own."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"method": name, "title": f"Method {name}: made up", **content}))
    return Method(path, load_config(path))


def finish(run: PlannedRun, shift: int, validation: float = 0.6, seconds: float = 1.0) -> PlannedRun:
    """Give the run a result whose predictions miss by ``shift`` voxels and whose validation ends at that Dice."""
    local = run.config.federation.share == "nothing"
    trains = [site for site, facts in run.data.sites.items() if facts["role"] == "train"]
    models = {site: shift for site in trains} if local else {FINAL_MODEL: shift}
    roles = {site: facts["role"] for site, facts in run.data.sites.items()}
    write_run(run.folder, roles, models, run.config.federation.share, pictures=False)
    told = json.loads((run.folder / "run.json").read_text())
    told |= {"model_hash": "ab" * 32, "validation": {site: validation for site in trains}}
    (run.folder / "run.json").write_text(json.dumps(told))
    (path,) = run.folder.rglob("ledger.json")
    ledger = json.loads(path.read_text())
    for entry in ledger["rounds"]:
        entry["seconds"] = seconds
        for metrics in entry["metrics"].values():
            metrics |= {"dice_mean": metrics["dice_mean"] * validation / 0.6} if "dice_mean" in metrics else {}
    path.write_text(json.dumps(ledger))
    record = read_run(run.folder)
    write_figures(record, build_report(record))  # without the page, which takes longest and nobody reads here
    (run.folder / IDENTITY_FILE).write_text(json.dumps(run.identity))
    return run
