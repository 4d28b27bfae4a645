# SPDX-License-Identifier: Apache-2.0
"""Every figure of docs/results/server.md: what accepting and merging cost the server, by parameters and by sites.

python tests/benchmarks/server.py                     about 1 minute where nothing else runs, 3 GiB

The sites' updates are four, taken in turns, so that 128 of 60 M parameters fit; the caches hold none of them from one
site to the next. Seconds are the processor's, the fastest of several turns, ours and FLARE's one after the other. The
page is written after every row, the longest last: what was stopped goes on when it is started again, and what is in
docs/results/server.json is not measured again.
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
from fedpac_me.federation.layout import CHUNK, chunks
from fedpac_me.hardware import machine, versions
from fedpac_me.storage import read_json, write_json, write_text

ROOT = Path(__file__).parents[2]
OUT = ROOT / "docs/results/server.md"
KEPT = ROOT / "docs/results/server.json"
# 4.7, 18.8 and 59.6 M parameters.
FILTERS = (16, 32, 57)
SITES = (8, 32, 128)
DISTINCT = 4
PROFILED = (16, 8)
# Values (parameters times sites) up to which a round is measured again, and traced for its memory.
MOST_REPEATED = 400_000_000
MOST_TRACED = 700_000_000
MOST_TURNS = 5
MIB = 2**20


def main() -> int:
    """Measure, keep the figures, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--remark", default="", help="a sentence for the page, such as what else the machine did")
    args = parser.parse_args()
    # FLARE warns at every update that no weight is configured; printing that would count against it.
    logging.disable(logging.CRITICAL)
    figures = read_json(KEPT) if KEPT.is_file() else {"profile": profile(*PROFILED), "rows": []}
    for sites in SITES:
        for filters in FILTERS:
            if not any((row["filters"], row["sites"]) == (filters, sites) for row in figures["rows"]):
                figures["rows"].append(measure(filters, sites))
                figures |= {"remark": args.remark, "on": date.today().isoformat()}
                figures["machine"] = {**machine(), **versions()}
                write_json(KEPT, figures)
                write_text(OUT, page(read_json(KEPT)))
    print(f"Written: {OUT}")
    return 0


def measure(filters: int, sites: int) -> dict[str, float]:
    """The figures of one row."""
    print(f"Measuring: {filters} filters, {sites} sites ...", file=sys.stderr, flush=True)
    model = segresnet_zeros(filters)
    distinct = updates_for(model, DISTINCT)
    facts = {"filters": filters, "parameters": _size(model), "sites": sites}
    return facts | _copy_seconds(distinct[0]) | _fewest_passes_seconds(distinct) | _round(model, distinct, sites)


def _round(model: Weights, distinct: Sequence[Weights], sites: int) -> dict[str, float]:
    updates = [distinct[number % len(distinct)] for number in range(sites)]
    fl_ctx = context()
    waits: list[float] = []
    ours, stock = [], []
    values = _size(model) * sites
    for _ in range(min(max(MOST_REPEATED // values, 1), MOST_TURNS)):
        ours.append(seconds(lambda: run_ours(model, updates, waits=waits)))
        stock.append(seconds(lambda: run_stock(updates, fl_ctx)))
    found = {
        "turns": len(ours),
        "ours_s": min(ours),
        "stock_s": min(stock),
        "accept_fastest_s": min(waits),
        "accept_median_s": statistics.median(waits),
        "accept_longest_s": max(waits),
    }
    if values > MOST_TRACED:
        return found
    peaks = {
        "ours_peak": peak_bytes(lambda: run_ours(model, updates)),
        "stock_peak": peak_bytes(lambda: run_stock(updates, fl_ctx)),
    }
    return found | peaks


def _copy_seconds(update: Weights) -> dict[str, float]:
    """Of a plain copy of an update, and of one of float64 arrays with as many elements, such as the sums are."""
    found = {}
    for name, kind in (("copy_s", np.float32), ("copy_of_sums_s", np.float64)):
        source = {key: value.astype(kind) for key, value in update.items()}
        target = {key: np.zeros_like(value) for key, value in source.items()}
        found[name] = min(_copied(source, target) for _ in range(2 * MOST_TURNS))
    return found


def _copied(source: Weights, target: Weights) -> float:
    start = time.thread_time()
    for name, value in source.items():
        np.copyto(target[name], value)
    return time.thread_time() - start


def _fewest_passes_seconds(distinct: Sequence[Weights]) -> dict[str, float]:
    """Of two passes over each update that no code of NumPy calls can leave out: squares of its values, one addition
    to sums of 8 bytes. Chunks as in the merge, so that the second finds in the cache what it adds.
    """
    sums = {name: np.zeros(value.size) for name, value in distinct[0].items()}
    summand = np.zeros(CHUNK)
    return {"fewest_passes_s": min(_passed(update, sums, summand) for update in [*distinct] * MOST_TURNS)}


def _passed(update: Weights, sums: Weights, summand: np.ndarray) -> float:
    start = time.thread_time()
    for name, value in update.items():
        flat, total = value.reshape(-1), sums[name]
        for part in chunks(flat.size):
            np.dot(flat[part], flat[part])
            np.add(total[part], summand[: part.stop - part.start], out=total[part])
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
        "it makes memory slower, for both: the fastest of so many turns, ours and FLARE's one after the other."
    )
    rows = sorted(figures["rows"], key=lambda row: (row["parameters"], row["sites"]))
    return "\n\n".join([head, _speed(rows), _waiting(rows), _profiled(figures["profile"])]) + "\n"


def _speed(rows: Sequence[dict[str, float]]) -> str:
    lines = [
        "## Time and memory by parameters and sites",
        "",
        "ns: a parameter and site. Peaks are beyond the updates themselves, by `tracemalloc`; the largest rounds were "
        "not traced.",
        "",
        "| parameters | sites | turns | stock (s) | ours (s) | ratio (≤ 1.5) | stock (ns) | ours (ns) "
        "| stock peak (MiB) | ours peak (MiB) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        values = row["parameters"] * row["sites"]
        lines.append(
            f"| {row['parameters'] / 1e6:.1f} M | {row['sites']} | {row['turns']} "
            f"| {row['stock_s']:.3f} | {row['ours_s']:.3f} "
            f"| {row['ours_s'] / row['stock_s']:.2f} | {1e9 * row['stock_s'] / values:.2f} "
            f"| {1e9 * row['ours_s'] / values:.2f} | {_mebibytes(row, 'stock_peak')} | {_mebibytes(row, 'ours_peak')} |"
        )
    lines += ["", _over_stock(rows)]
    largest = max(row["parameters"] for row in rows)
    missing = [str(sites) for sites in SITES if (largest, sites) not in {(r["parameters"], r["sites"]) for r in rows}]
    if missing:
        lines += ["", f"Not measured yet at {largest / 1e6:.1f} M parameters: {', '.join(missing)} sites."]
    return "\n".join(lines)


def _over_stock(rows: Sequence[dict[str, float]]) -> str:
    fewest = [row["fewest_passes_s"] * row["sites"] / row["stock_s"] for row in rows]
    return (
        "Why not 1.5: two passes alone, the squares of an update's values and one addition to sums of 8 bytes, take "
        f"{min(fewest):.2f} to {max(fewest):.2f} times all that the stock aggregator does, whose sums are float32, "
        "depend on the order of the sites and take any value. The cast to float64 and the product with the weight "
        "come on top, each a pass of NumPy. PyTorch's fused product and sum was tried in their place and took as long."
    )


def _waiting(rows: Sequence[dict[str, float]]) -> str:
    lines = [
        "## What a heartbeat waits, and a plain copy of the same bytes",
        "",
        "FLARE calls `accept` under its workflow lock. A site's heartbeat that comes meanwhile waits for one `accept`, "
        "if nothing else is in line: its processor seconds, where a core is free (`docs/scaling.md` has those of a "
        "busy server). Beside it a copy of one update's float32 values, and "
        "a copy of as many float64 values, which is what the sums are made of.",
        "",
        "| parameters | sites | accept: fastest (ms) | median (ms) | longest (ms) | copy of the update (ms) "
        "| of its speed (≥ 0.5) | copy of the sums (ms) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['parameters'] / 1e6:.1f} M | {row['sites']} "
            f"| {1e3 * row['accept_fastest_s']:.1f} | {1e3 * row['accept_median_s']:.1f} "
            f"| {1e3 * row['accept_longest_s']:.1f} | {1e3 * row['copy_s']:.1f} "
            f"| {row['copy_s'] / row['accept_fastest_s']:.2f} | {1e3 * row['copy_of_sums_s']:.1f} |"
        )
    return "\n".join([*lines, "", _in_the_way(rows)])


def _in_the_way(rows: Sequence[dict[str, float]]) -> str:
    shares = [row["copy_of_sums_s"] / (2 * row["copy_s"]) for row in rows]
    return (
        "The longest is that of a round's first update, for which the system hands out the memory of the sums.\n\n"
        "What stands in the way of half a copy's speed: a sum has 8 bytes, so that it is exact in any order, and each "
        f"update reads and writes all sums. A copy of theirs alone takes {min(shares):.0%} to {max(shares):.0%} of the "
        "time allowed. The rest are the passes that NumPy needs: the sum of squares, which finds NaN and what is too "
        "large on the way, the cast to float64, the product with the weight. BLAS has product and sum in one pass "
        "(`daxpy`), but wakes its threads above 10,000 values, and below that the calls cost what the pass saves."
    )


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


def _mebibytes(row: dict[str, float], key: str) -> str:
    return f"{row[key] / MIB:.0f}" if key in row else ""


def _size(model: Weights) -> int:
    return sum(value.size for value in model.values())


if __name__ == "__main__":
    sys.exit(main())
