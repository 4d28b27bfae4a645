# SPDX-License-Identifier: Apache-2.0
"""Every figure of docs/results/server.md: what accepting and merging cost the server, by parameters and by sites.

python tests/benchmarks/server.py                     about 3 processor minutes, 3 GiB
python tests/benchmarks/server.py --filters 16        other widths of the network; writes the page all the same

The sites' updates are four, taken in turns, so that 128 of 60 M parameters fit; the caches hold none of them from one
site to the next. Seconds are the processor's, the fastest of several turns, ours and FLARE's one after the other.
"""

from __future__ import annotations

import argparse
import cProfile
import logging
import pstats
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from aggregation import Weights, context, peak_bytes, run_ours, run_stock, seconds, segresnet_zeros, updates_for
from fedpac_me.hardware import machine, versions
from fedpac_me.storage import read_json, write_json, write_text

ROOT = Path(__file__).parents[2]
OUT = ROOT / "docs/results/server.md"
KEPT = ROOT / "docs/results/server.json"
# 4.7, 18.8 and 59.6 M parameters.
FILTERS = (16, 32, 57)
SITES = (8, 32, 128)
DISTINCT = 4
PROFILED = (32, 8)
MIB = 2**20


def main() -> int:
    """Measure, keep the figures, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filters", nargs="+", type=int, default=FILTERS, help="widths of the network")
    parser.add_argument("--turns", type=int, default=3, help="of which the fastest counts (default: 3)")
    parser.add_argument("--remark", default="", help="a sentence for the page, such as what else the machine did")
    args = parser.parse_args()
    # FLARE warns at every update that no weight is configured; printing that would count against it.
    logging.disable(logging.CRITICAL)
    figures = {
        "profile": profile(*PROFILED),
        "rows": [row for filters in args.filters for row in measure(filters, args.turns)],
        "turns": args.turns,
        "remark": args.remark,
        "on": date.today().isoformat(),
        "machine": {**machine(), **versions()},
    }
    write_json(KEPT, figures)
    write_text(OUT, page(read_json(KEPT)))
    print(f"Written: {OUT}")
    return 0


def measure(filters: int, turns: int) -> list[dict[str, float]]:
    """A row for every number of sites."""
    model = segresnet_zeros(filters)
    distinct = updates_for(model, DISTINCT)
    copies = _copy_seconds(distinct[0], turns)
    rows = []
    for sites in SITES:
        print(f"Measuring: {filters} filters, {sites} sites ...", file=sys.stderr, flush=True)
        rows.append({"parameters": _size(model), "sites": sites, **copies, **_round(model, distinct, sites, turns)})
    return rows


def _round(model: Weights, distinct: Sequence[Weights], sites: int, turns: int) -> dict[str, float]:
    updates = [distinct[number % len(distinct)] for number in range(sites)]
    fl_ctx = context()
    waits: list[float] = []
    ours, stock = [], []
    for _ in range(turns):
        ours.append(seconds(lambda: run_ours(model, updates, waits=waits)))
        stock.append(seconds(lambda: run_stock(updates, fl_ctx)))
    return {
        "ours_s": min(ours),
        "stock_s": min(stock),
        "accept_median_s": statistics.median(waits),
        "accept_longest_s": max(waits),
        "ours_peak": peak_bytes(lambda: run_ours(model, updates)),
        "stock_peak": peak_bytes(lambda: run_stock(updates, fl_ctx)),
    }


def _copy_seconds(update: Weights, turns: int) -> dict[str, float]:
    """Of a plain copy of an update, and of one of float64 arrays with as many elements, such as the sums are."""
    found = {}
    for name, kind in (("copy_s", np.float32), ("copy_of_sums_s", np.float64)):
        source = {key: value.astype(kind) for key, value in update.items()}
        target = {key: np.zeros_like(value) for key, value in source.items()}
        found[name] = min(_copied(source, target) for _ in range(3 * turns))
    return found


def _copied(source: Weights, target: Weights) -> float:
    start = time.thread_time()
    for name, value in source.items():
        np.copyto(target[name], value)
    return time.thread_time() - start


def profile(filters: int, sites: int) -> dict[str, Any]:
    """Where the processor's time of one round goes, by function: the largest own times."""
    model = segresnet_zeros(filters)
    updates = updates_for(model, sites)
    run_ours(model, updates)
    profiler = cProfile.Profile(time.process_time)
    profiler.runcall(run_ours, model, updates)
    found = pstats.Stats(profiler).get_stats_profile()
    functions = sorted(found.func_profiles.items(), key=lambda item: -item[1].tottime)
    rows = [
        {"function": name, "file": Path(entry.file_name).name, "calls": str(entry.ncalls), "own_s": entry.tottime}
        for name, entry in functions[:8]
    ]
    return {"parameters": _size(model), "sites": sites, "seconds": found.total_tt, "rows": rows}


def page(figures: dict[str, Any]) -> str:
    """The figures as markdown."""
    facts = ", ".join(f"{key} {value}" for key, value in figures["machine"].items())
    head = (
        "# The server, measured\n\n"
        f"`python tests/benchmarks/server.py` wrote this page on {figures['on']}. Machine and versions: {facts}. "
        f"{figures['remark']}\n\n"
        "`accept` and `aggregate` of one round, every check on, without FLARE's messages; seed 0, tensors of MONAI's "
        "SegResNet, which has no experts. Seconds are the processor's, so other work on the machine counts little, but "
        f"it makes memory slower for both: the fastest of {figures['turns']} turns."
    )
    return "\n\n".join([head, _speed(figures["rows"]), _waiting(figures["rows"]), _profiled(figures["profile"])]) + "\n"


def _speed(rows: Sequence[dict[str, float]]) -> str:
    lines = [
        "## Time and memory by parameters and sites",
        "",
        "Peaks are beyond the updates themselves. ns: a parameter and site.",
        "",
        "| parameters | sites | stock (s) | ours (s) | ratio (≤ 1.5) | stock (ns) | ours (ns) | stock peak (MiB) "
        "| ours peak (MiB) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        values = row["parameters"] * row["sites"]
        lines.append(
            f"| {row['parameters'] / 1e6:.1f} M | {row['sites']} | {row['stock_s']:.3f} | {row['ours_s']:.3f} "
            f"| {row['ours_s'] / row['stock_s']:.2f} | {1e9 * row['stock_s'] / values:.2f} "
            f"| {1e9 * row['ours_s'] / values:.2f} | {row['stock_peak'] / MIB:.0f} | {row['ours_peak'] / MIB:.0f} |"
        )
    return "\n".join(lines)


def _waiting(rows: Sequence[dict[str, float]]) -> str:
    lines = [
        "## What a heartbeat waits, and a plain copy of the same bytes",
        "",
        "FLARE calls `accept` under its workflow lock. A site's heartbeat that comes meanwhile waits at most for one "
        "`accept` if nothing else is in line: its processor time. Beside it a copy of one update's float32 values, and "
        "a copy of as many float64 values, which is what the sums are made of.",
        "",
        "| parameters | sites | accept: median (ms) | longest (ms) | copy of the update (ms) "
        "| of its speed (≥ 0.5) | copy of the sums (ms) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['parameters'] / 1e6:.1f} M | {row['sites']} | {1e3 * row['accept_median_s']:.1f} "
            f"| {1e3 * row['accept_longest_s']:.1f} | {1e3 * row['copy_s']:.1f} "
            f"| {row['copy_s'] / row['accept_median_s']:.2f} | {1e3 * row['copy_of_sums_s']:.1f} |"
        )
    return "\n".join(lines)


def _profiled(profile: dict[str, Any]) -> str:
    lines = [
        "## Where the time goes",
        "",
        f"cProfile of one round, {profile['parameters'] / 1e6:.1f} M parameters, {profile['sites']} sites, "
        f"{profile['seconds']:.3f} processor seconds with the profiler's own. NumPy's loops count to the function that "
        "calls them.",
        "",
        "| function | calls | own time (s) | share |",
        "|---|---|---|---|",
    ]
    for row in profile["rows"]:
        where = row["function"] if row["file"] == "~" else f"{row['file']}: {row['function']}"
        share = row["own_s"] / profile["seconds"]
        lines.append(f"| `{where}` | {row['calls']} | {row['own_s']:.3f} | {share:.0%} |")
    return "\n".join(lines)


def _size(model: Weights) -> int:
    return sum(value.size for value in model.values())


if __name__ == "__main__":
    sys.exit(main())
