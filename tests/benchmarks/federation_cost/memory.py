# SPDX-License-Identifier: Apache-2.0
"""Does any process of a federation grow from round to round?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from scipy.stats import linregress

from federation_cost.data import tiny_sites
from federation_cost.effort import Effort
from federation_cost.environments import TEMPLATE, run_in, say, stopped
from federation_cost.figures import mebibytes
from federation_cost.job import NULL, STOCK, TINY, write_job
from federation_cost.watch import MemoryWatch, resident_of_federation
from fedpac_me.config import parse_config
from fedpac_me.engine import run_federation
from fedpac_me.flare.local_federation import LocalFederation
from fedpac_me.flare.poc import start_poc
from poc_tools import free_port
from round_overhead import round_times

SITES = 2
TITLE = "Memory over many rounds"
WATCHED = "sites that train, watched"
_KIB = 1024
_CAUSES = (
    "FLARE 2.9.0 keeps a buffer of 1 MiB for each stream that it sends, in objects that refer to each other, until "
    "Python's next full collection: an idle site's job came to one in ninety rounds, and was 26 MiB smaller after it. "
    "Where everything was collected and given back every five seconds, another's grew by 5 KiB a round, within what it "
    "went up and down by. `flare/freed_memory.py` does so at the sites and in the server's parent process. The first "
    "rounds are left out because FLARE's thread pools fill in them: from 11 threads to 173 in 26 rounds.",
)


def measure(folder: Path, effort: Effort) -> Iterator[dict[str, Any]]:
    """Slope and level by aggregator and process; after each job, those so far."""
    config = {**TINY, "federation": {"rounds": effort.memory_rounds}}
    jobs = {
        "FLARE's aggregator, idle sites": write_job(folder / "jobs", "stock", config, executor=NULL, aggregator=STOCK),
        "this project's aggregator, idle sites": write_job(folder / "jobs", "ours", config, aggregator=None),
        WATCHED: write_job(folder / "jobs", "training", config, executor=None, aggregator=None),
    }
    data = tiny_sites(folder / "data", SITES)
    federation = LocalFederation(folder / "poc")
    say(f"without FLARE: {effort.memory_rounds} rounds")
    measured: dict[str, Any] = {
        "rounds": effort.memory_rounds,
        "warm_up": effort.warm_up_rounds,
        "without FLARE": _without_flare(config, data, folder / "one process", effort.warm_up_rounds),
        "jobs": {},
    }
    for name, job in jobs.items():
        # A federation of its own for each: what one job leaves behind must not count for the next.
        start_poc(federation, TEMPLATE, data, SITES, free_port())
        with stopped(federation), MemoryWatch(partial(resident_of_federation, federation.workspace)) as watch:
            say(f"{name}: {effort.memory_rounds} rounds")
            finished = run_in(federation, job, folder, watched=name == WATCHED)
        times = round_times(finished.server / "log.txt")
        ends = [times[number, "finished"] for number in range(effort.memory_rounds)]
        measured["jobs"][name] = _slopes(watch.samples, ends, effort.warm_up_rounds)
        yield measured


def section(measured: dict[str, Any]) -> list[str]:
    """The page's lines."""
    jobs = measured["jobs"]
    names = list(jobs)
    lines = [
        f"{measured['rounds']} rounds of a POC federation with {SITES} sites and a network of the tests' size: with "
        "FLARE's own aggregator and a site of twenty lines, in this project's job otherwise; with this project's "
        "aggregator and a site that does not train; and with its sites too, which "
        "take two training steps a round while `poc/watch.sh` reads the job's log every two seconds. Each process's "
        f"resident memory at the end of every round after the first {measured['warm_up']}, and the slope of a "
        "least-squares line through it, "
        "± its standard error. Neighbouring rounds resemble each other, so the true error is larger.",
        "",
        "| process | " + " | ".join(f"{name}: KiB a round | at the end (MiB)" for name in names) + " |",
        "|---|" + "---|---|" * len(names),
    ]
    for role in jobs[names[0]]:
        cells = []
        for name in names:
            found = jobs[name][role]
            cells.append(f"{found['slope']:+.2f} ± {found['error']:.2f} | {mebibytes(found['last'])}")
        lines.append(f"| {role} | {' | '.join(cells)} |")
    steepest = (max(jobs[name].items(), key=lambda item: item[1]["slope"]) for name in names)
    told = (f"{role} by {found['slope']:.1f} with {name}" for name, (role, found) in zip(names, steepest, strict=True))
    alone = measured["without FLARE"]
    return [
        *lines,
        "",
        f"What grows most, in KiB a round: {', '.join(told)}.",
        "The same training sites and the same server without FLARE, all in one process (`fedpac_me.engine`), grow by "
        f"{alone['slope']:.2f} ± {alone['error']:.2f}; the ledger, which keeps every round, is part of that.",
        "",
        *_CAUSES,
    ]


def _slopes(
    samples: list[tuple[float, dict[str, int]]], ends: list[float], warm_up: int
) -> dict[str, dict[str, float]]:
    """Per process the line through its memory at the last look before each round's end."""
    rows: dict[str, list[tuple[int, int]]] = {}
    for number, end in list(enumerate(ends))[warm_up:]:
        before = [found for moment, found in samples if moment <= end]
        for role, size in (before[-1] if before else {}).items():
            rows.setdefault(role, []).append((number, size))
    return {role: _line(points) for role, points in sorted(rows.items())}


def _line(points: list[tuple[int, int]]) -> dict[str, float]:
    """Slope and its standard error (KiB a round) of bytes by round, and the last of them."""
    numbers, sizes = zip(*points, strict=True)
    line = linregress(numbers, sizes)
    error = 0.0 if min(sizes) == max(sizes) else float(line.stderr)  # of what never changes it says NaN
    return {"slope": float(line.slope) / _KIB, "error": error / _KIB, "last": sizes[-1]}


def _without_flare(config: dict[str, Any], data: Path, folder: Path, warm_up: int) -> dict[str, float]:
    """Sites that train and the server, all in this process."""
    parsed = parse_config({"method": "memory", "title": "The same federation in one process", **config})
    sizes: list[int] = []
    run_federation(parsed, data, folder, progress=lambda line: sizes.append(psutil.Process().memory_info().rss))
    return _line(list(enumerate(sizes))[warm_up:])
