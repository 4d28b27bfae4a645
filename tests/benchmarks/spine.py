# SPDX-License-Identifier: Apache-2.0
"""Every figure of docs/results/spine.md, measured one after the other on this machine.

python tests/benchmarks/spine.py            about 50 minutes on 2 cores, most of it for nine demo runs
python tests/benchmarks/spine.py --only step inference
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import aggregation
import demo_cost
import demo_table
import determinism
import real_case
import round_overhead
import step
from fedpac_me.data.phantom import write_phantom
from fedpac_me.hardware import machine, versions
from fedpac_me.storage import write_text

ROOT = Path(__file__).parents[2]
OUT = ROOT / "docs/results/spine.md"
KEPT = ROOT / "build/bench"
RATIOS = "| what | ours | the other | ratio | target |\n|---|---|---|---|---|"


def main() -> int:
    """Measure, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="measure these again and keep the other sections")
    wanted = parser.parse_args().only or list(SECTIONS)
    phantom = ROOT / "data/phantom"
    if not phantom.exists():
        write_phantom(phantom)
    for name in wanted:
        print(f"Measuring: {name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="fedpac_me_bench_") as folder:
            write_text(KEPT / f"{name}.md", SECTIONS[name](phantom, Path(folder)))
    missing = [name for name in SECTIONS if not (KEPT / f"{name}.md").is_file()]
    if missing:
        print(f"Not written: {OUT}; still to be measured: {', '.join(missing)}.")
        return 1
    sections = [(KEPT / f"{name}.md").read_text(encoding="utf-8") for name in SECTIONS]
    write_text(OUT, "\n\n".join([_head(), *sections]) + "\n")
    print(f"Written: {OUT}")
    return 0


def _step(phantom: Path, folder: Path) -> str:
    return f"## Step and inference against bare MONAI\n\n{RATIOS}\n" + "\n".join(step.measure(phantom))


def _round(phantom: Path, folder: Path) -> str:
    rows = "\n".join(round_overhead.measure(phantom, folder))
    return f"## Round against FLARE's stock aggregator and an idle executor\n\n{RATIOS}\n{rows}"


def _aggregation(phantom: Path, folder: Path) -> str:
    return f"## Server: accept and aggregate\n\n{aggregation.table()}"


def _determinism(phantom: Path, folder: Path) -> str:
    return "## Same seed, same bytes\n\n" + "\n".join(determinism.measure(phantom, folder))


def _real_case(phantom: Path, folder: Path) -> str:
    return "## A real case, 240×240×155 voxels\n\n" + "\n".join(real_case.measure(phantom, folder))


def _cost(phantom: Path, folder: Path) -> str:
    return "## What the demo costs\n\n" + "\n".join(demo_cost.measure(phantom, folder))


def _demo(phantom: Path, folder: Path) -> str:
    table = demo_table.render(demo_table.run_all(ROOT / "runs"))
    return (
        "## Local, federated, central\n\n"
        "Phantom seed 0, 48³, training seeds 0, 1, 2; mean Dice over TC, WT, ET of the final models on test cases, "
        "mean ± standard deviation over seeds; BraTS 2020: a region absent from truth and prediction scores 1. "
        "Equal local compute: 28 rounds × 20 steps × batch 2 at each of four sites; central takes the same 80 steps a "
        f"round in one place.\n\n{table}"
    )


SECTIONS: dict[str, Callable[[Path, Path], str]] = {
    "step": _step,
    "round": _round,
    "aggregation": _aggregation,
    "determinism": _determinism,
    "real": _real_case,
    "cost": _cost,
    "demo": _demo,
}


def _head() -> str:
    facts = ", ".join(f"{key} {value}" for key, value in {**machine(), **versions()}.items())
    return (
        "# The spine, measured\n\n"
        f"`make bench` wrote this page on {date.today().isoformat()}. Machine and versions: {facts}. "
        "Ratios are of two things measured in turns in one run."
    )


if __name__ == "__main__":
    sys.exit(main())
