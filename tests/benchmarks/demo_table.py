# SPDX-License-Identifier: Apache-2.0
"""Local, federated and central training on the demo's phantom, three training seeds, one table.

    python tests/benchmarks/demo_table.py

Runs that exist below ``runs/`` are taken as they are, so an interrupted call goes on where it stopped.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from fedpac_me.storage import read_json

ROOT = Path(__file__).parents[2]
METHODS = ("local", "fedavg", "central")
SEEDS = (0, 1, 2)


def main() -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run folders go (default: runs)")
    print(render(run_all(parser.parse_args().runs)))


def run_all(runs: Path) -> dict[str, list[dict]]:
    """The reports of every method, one a seed; runs what is missing below ``runs``."""
    return {method: [_report(runs, method, seed) for seed in SEEDS] for method in METHODS}


def render(reports: dict[str, list[dict]]) -> str:
    """Markdown: mean Dice (mean ± standard deviation over seeds) of the final models on test cases."""
    lines = [
        "| method | seen sites | worst seen site | unseen site | seen, region exists | unseen, region exists |",
        "|---|---|---|---|---|---|",
    ]
    lines.append(_row("predicting nothing", [_null_figures(report) for report in reports["fedavg"]]))
    lines += [_row(method, [_figures(report) for report in found]) for method, found in reports.items()]
    return "\n".join([*lines, "", *_local_models(reports["local"])])


def _report(runs: Path, method: str, seed: int) -> dict:
    run = runs / f"spine-{method}-{seed}"
    if not (run / "report.json").is_file():
        command = [sys.executable, ROOT / "jobs/train.py", "--config", ROOT / f"app_configs/{method}.json"]
        options = ["--seed", str(seed), "--runs", runs, "--name", run.name, "--replace"]
        print(f"Running {run.name} ...", file=sys.stderr, flush=True)
        subprocess.run([*map(str, command), *map(str, options)], check=True, stdout=sys.stderr)
    return read_json(run / "report.json")


def _figures(report: dict) -> list[float]:
    return [
        report["mean"]["dice"]["mean"],
        report["worst_site"]["dice"]["mean"],
        report["unseen"]["dice"]["mean"],
        report["mean"]["dice_nonempty"]["mean"],
        report["unseen"]["dice_nonempty"]["mean"],
    ]


def _null_figures(report: dict) -> list[float]:
    trained = [site["null_predictor"]["dice"]["mean"] for site in report["sites"].values() if site["role"] == "train"]
    seen, unseen = report["mean"]["null_predictor"]["dice"]["mean"], report["unseen"]["null_predictor"]["dice"]["mean"]
    return [seen, min(trained), unseen, 0.0, 0.0]


def _row(name: str, figures: list[list[float]]) -> str:
    cells = (
        f"{statistics.mean(column):.3f} ± {statistics.pstdev(column):.3f}" for column in zip(*figures, strict=True)
    )
    return f"| {name} | {' | '.join(cells)} |"


def _local_models(reports: list[dict]) -> list[str]:
    """Each site's own model on the unseen site, seed by seed."""
    lines = ["| local model of | on the unseen site, seeds " + ", ".join(map(str, SEEDS)) + " |", "|---|---|"]
    for model in sorted(name for name in reports[0]["models"] if name.startswith("site-")):
        scores = [_unseen(report["models"][model]) for report in reports]
        lines.append(f"| {model} | {', '.join(f'{score:.3f}' for score in scores)} |")
    return lines


def _unseen(summary: dict) -> float:
    return summary["unseen"]["dice"]["mean"]


if __name__ == "__main__":
    main()
