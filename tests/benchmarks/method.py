# SPDX-License-Identifier: Apache-2.0
"""The method against its rivals on the phantom, in one process: the tables of docs/results/method.md.

    python tests/benchmarks/method.py                                          about 3 minutes a run on one core
    python tests/benchmarks/method.py --methods experts fedbn --seeds 0 --budget 2
    python tests/benchmarks/method.py --methods experts fedavg_bn --phantom 1
    python tests/benchmarks/method.py --methods own_alone fedpac_me --labels 4 --seeds 0 1

What build/bench/method.jsonl holds for the same config and phantom is taken from there. Two calls may run side by side.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from fedpac_me.config import Config, load_config
from fedpac_me.data.phantom import write_phantom
from fedpac_me.data.pooling import site_folders, write_pooled_root
from fedpac_me.data.splits import SPLITS_FILE
from fedpac_me.engine import run_federation
from fedpac_me.evaluation.summary import summarise_run
from fedpac_me.labels import REGIONS
from fedpac_me.storage import read_json, write_json

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build/bench/method.jsonl"
ROUNDS = 28
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "fedavg": ("fedavg", {}),
    "fedavg_bn": ("fedavg_bn", {}),
    "fedbn": ("fedbn", {}),
    "fedbn_nearest": ("fedbn", {"router": {"unseen": "nearest"}}),
    **{name: (name, {}) for name in ("fedprox", "scaffold", "moon", "ditto", "fedper", "fedrep", "fedadam")},
    "experts": ("experts", {}),
    "experts_bn": ("experts", {"model": {"norm": "batch"}}),
    "fedpac_me": ("fedpac_me", {}),
    "central": ("central", {}),
    "own_alone": ("experts", {"model": {"own": "all"}}),
    "rank_8": ("fedpac_me", {"model": {"adapter_rank": 8}}),
    "rank_16": ("fedpac_me", {"model": {"adapter_rank": 16}}),
    "refine_figures": ("fedpac_me", {"router": {"refine": "figures"}}),
    "refine_own_bias": ("fedpac_me", {"router": {"refine": "own_bias"}}),
    **{
        part: (f"ablations/{part}", {})
        for part in (
            "without_experts",
            "without_adapters",
            "without_own",
            "without_mpa",
            "without_pacl",
            "without_momentum",
            "without_surest",
            "merge_by_cases",
            "merge_by_cases_of_users",
        )
    },
}
"""Name of the row: the file of app_configs/, and what is changed in it."""


def main() -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--phantom", type=int, default=0, help="seed of the phantom (default 0, the demo's)")
    parser.add_argument("--budget", type=int, default=1, help=f"times {ROUNDS} rounds (default 1, the demo's)")
    parser.add_argument("--labels", type=int, help="training scans that each site may use (default: all)")
    args = parser.parse_args()
    phantom = ROOT / f"build/bench/phantom-{args.phantom}"
    if not phantom.exists():
        write_phantom(phantom, seed=args.phantom)
    data = {"phantom": args.phantom, "labels": args.labels}
    print("| method | seeds | seen | worst seen | unseen | unseen by protocol |\n|---|---|---|---|---|---|")
    for method in args.methods:
        runs = [_figures(phantom, data, method, _config(method, seed, args.budget)) for seed in args.seeds]
        print(_row(method, runs), flush=True)


def _config(method: str, seed: int, budget: int) -> Config:
    file, changes = METHODS[method]
    federation = {**changes.get("federation", {}), "rounds": budget * ROUNDS}
    return load_config(ROOT / f"app_configs/{file}.json", {**changes, "seed": seed, "federation": federation})


def _figures(phantom: Path, data: dict[str, int | None], method: str, config: Config) -> dict[str, Any]:
    kept = [json.loads(line) for line in KEPT.read_text().splitlines()] if KEPT.exists() else []
    for known in kept:
        if {"config": config.hash, "labels": None, **data}.items() <= {"labels": None, **known}.items():
            return known
    print(f"Running {method}, seed {config.seed} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="fedpac_me_method_") as folder:
        root = _root(phantom, Path(folder), config, data["labels"])
        outcome = run_federation(
            config, root, Path(folder) / "run", lambda line: print(line, file=sys.stderr, flush=True)
        )
    found = {
        "config": config.hash, **data, "rounds": config.federation.rounds, "method": method,
        "seed": config.seed, **_summary(outcome.evaluations),
    }  # fmt: skip
    with open(KEPT, "a", encoding="utf-8") as file:
        file.write(json.dumps(found) + "\n")
    return found


def _root(phantom: Path, folder: Path, config: Config, labels: int | None) -> Path:
    """The phantom's sites, with fewer training scans or one site that has all of them where that is asked for."""
    root = phantom
    if labels is not None:
        root = folder / "few"
        for site in site_folders(phantom):
            settings, split = read_json(site / "site.json"), read_json(site / SPLITS_FILE)
            split["train"] = split["train"][:: max(1, len(split["train"]) // labels)][:labels]
            write_json(root / site.name / SPLITS_FILE, split)
            write_json(root / site.name / "site.json", {**settings, "data": str(site.resolve()), "splits": SPLITS_FILE})
    if config.pooled:
        write_pooled_root(root, folder / "pooled")
        root = folder / "pooled"
    return root


def _summary(evaluations: dict[str, Any]) -> dict[str, Any]:
    summary = summarise_run(evaluations)
    protocols: dict[str, list[float]] = {}
    for site in evaluations.values():
        for case in site["cases"] if site["role"] == "evaluate" else []:
            dice = statistics.fmean(case[f"dice_{region}"] for region in REGIONS)
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
