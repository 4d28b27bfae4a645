# SPDX-License-Identifier: Apache-2.0
"""From submitting a job to its first training step, and to that of the last site."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from federation_cost.data import tiny_sites
from federation_cost.effort import Effort
from federation_cost.environments import ENVIRONMENTS, Finished, say
from federation_cost.figures import spread
from federation_cost.in_job.stamped_executor import STAMP
from federation_cost.job import STAMPED, TINY, write_job
from fedpac_me.storage import read_json

SITES = 4
TITLE = "From submit to the first training step"


def measure(folder: Path, effort: Effort) -> Iterator[dict[str, Any]]:
    """Seconds by environment, one entry a job; after each environment, those so far."""
    data = tiny_sites(folder / "data", SITES)
    job = write_job(folder / "jobs", "start", {**TINY, "federation": {"rounds": 1}}, executor=STAMPED, aggregator=None)
    measured: dict[str, Any] = {}
    for name, enter in ENVIRONMENTS.items():
        say(f"{name}: starting")
        with enter(folder, data, SITES) as run:
            jobs = []
            for number in range(effort.repeats):
                say(f"{name}: job {number + 1} of {effort.repeats}")
                jobs.append(_stamps(run(job)))
            measured[name] = jobs
        yield measured


def section(measured: dict[str, Any]) -> list[str]:
    """The page's lines."""
    lines = [
        f"{SITES} sites with two tiny training cases each, seconds after submitting: median (smallest to largest). In "
        "the simulator submitting is starting its command, so its own start counts; federations are up already.",
        "",
        "| where | jobs | a site has its first task | first training step anywhere | every site trains |",
        "|---|---|---|---|---|",
    ]
    for name, jobs in measured.items():
        figures = " | ".join(spread([job[what] for job in jobs]) for what in ("task", "first", "all"))
        lines.append(f"| {name} | {len(jobs)} | {figures} |")
    ahead = statistics.median(job["first"] - job["task"] for jobs in measured.values() for job in jobs)
    return [
        *lines,
        "",
        f"A site that has its task begins to train {ahead:.1f} s later; all before that is starting and handing out.",
    ]


def _stamps(finished: Finished) -> dict[str, float]:
    stamps = [read_json(path) for path in finished.at_sites(STAMP)]
    if len(stamps) != SITES:
        raise RuntimeError(f"{len(stamps)} of {SITES} sites wrote down when they began to train")
    steps = [stamp["step"] - finished.submitted for stamp in stamps]
    return {"task": min(s["task"] for s in stamps) - finished.submitted, "first": min(steps), "all": max(steps)}
