# SPDX-License-Identifier: Apache-2.0
"""The method against its rivals on the phantom, in one process: the table of docs/results/method.md.

    python tests/benchmarks/method.py --seeds 0 1 2                 about 3 minutes a run on one core
    python tests/benchmarks/method.py --methods experts --seeds 0

Runs that are in build/bench/method.jsonl for the same config are taken from there. Two calls may run side by side.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from fedpac_me.config import load_config
from fedpac_me.data.phantom import write_phantom
from fedpac_me.engine import run_federation
from fedpac_me.evaluation.summary import summarise_run

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build/bench/method.jsonl"
BATCH = {"model": {"norm": "batch"}}
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "fedavg": ("fedavg", {}),
    "fedavg_bn": ("fedavg_bn", {}),
    "site_experts": ("site_experts", {}),
    "experts": ("experts", {}),
    "experts_bn": ("experts", BATCH),
    "fedpac_me": ("fedpac_me", {}),
    "experts_pacl": ("experts", {"contrast": {"prototype_weight": 0.05}}),
    "experts_no_generalist": ("experts", {"model": {"experts": 4}, "router": {"far": "nearest"}}),
    "experts_by_cases": ("experts", {"federation": {"expert_merge": "cases"}}),
    "experts_by_users": ("experts", {"federation": {"expert_merge": "cases_of_users"}}),
}
"""Name of the row: the file of app_configs/, and what is changed in it."""


def main() -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    args = parser.parse_args()
    phantom = ROOT / "data/phantom"
    if not phantom.exists():
        write_phantom(phantom)
    print("| method | seeds | seen | worst seen | unseen | unseen by protocol |\n|---|---|---|---|---|---|")
    for method in args.methods:
        print(_row(method, [_figures(phantom, method, seed) for seed in args.seeds]), flush=True)


def _figures(phantom: Path, method: str, seed: int) -> dict[str, Any]:
    file, changes = METHODS[method]
    config = load_config(ROOT / f"app_configs/{file}.json", {**changes, "seed": seed})
    kept = [json.loads(line) for line in KEPT.read_text().splitlines()] if KEPT.exists() else []
    for known in kept:
        if known["config"] == config.hash:
            return known
    print(f"Running {method}, seed {seed} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="fedpac_me_method_") as folder:
        outcome = run_federation(config, phantom, Path(folder), lambda line: print(line, file=sys.stderr, flush=True))
    found = {"config": config.hash, "method": method, "seed": seed, **_summary(outcome.evaluations)}
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    with open(KEPT, "a", encoding="utf-8") as file:
        file.write(json.dumps(found) + "\n")
    return found


def _summary(evaluations: dict[str, Any]) -> dict[str, Any]:
    summary = summarise_run(evaluations)
    protocols: dict[str, list[float]] = {}
    for site in evaluations.values():
        for case in site["cases"] if site["role"] == "evaluate" else []:
            dice = statistics.fmean(case[f"dice_{region}"] for region in ("TC", "WT", "ET"))
            protocols.setdefault(case["protocol"], []).append(dice)
    return {
        "seen": summary["mean"]["dice"]["mean"],
        "worst": summary["worst_site"]["dice"]["mean"],
        "unseen": summary["unseen"]["dice"]["mean"],
        "protocols": {name: statistics.fmean(dice) for name, dice in sorted(protocols.items())},
    }


def _row(method: str, runs: list[dict[str, Any]]) -> str:
    cells = [
        f"{statistics.fmean(values):.3f} ± {statistics.pstdev(values):.3f}"
        for values in ([run[name] for run in runs] for name in ("seen", "worst", "unseen"))
    ]
    names = runs[0]["protocols"]
    protocols = " ".join(f"{name} {statistics.fmean(run['protocols'][name] for run in runs):.2f}" for name in names)
    return f"| {method} | {len(runs)} | {' | '.join(cells)} | {protocols} |"


if __name__ == "__main__":
    main()
