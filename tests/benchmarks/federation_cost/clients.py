# SPDX-License-Identifier: Apache-2.0
"""How the server's time and memory grow with the number of sites and the size of the network."""

from __future__ import annotations

import statistics
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from federation_cost.data import empty_sites
from federation_cost.effort import Effort
from federation_cost.environments import Finished, run_simulator, say
from federation_cost.figures import mebibytes
from federation_cost.job import sized, write_job
from federation_cost.probe import overhead_seconds, read_probe
from federation_cost.watch import MemoryWatch, shared_out

TITLE = "Number of sites and size of the network"
MOST_BYTES = 18 * 2**30
"""Of all processes together; leaves room for the system on a machine of 24 GiB."""

_FEWER_PROCESSES = 10


def measure(folder: Path, effort: Effort) -> list[dict[str, Any]]:
    """One entry a network and number of sites."""
    return [
        _measured(folder / f"{size[:-2]}-{sites}", size, sites, effort)
        for size in effort.client_sizes
        for sites in effort.clients
    ]


def section(measured: list[dict[str, Any]]) -> list[str]:
    """The page's lines."""
    lines = [
        "FLARE's simulator, sites that do not train; the server's process by its own clocks, medians over the rounds "
        "but the first. In the seconds of a round all sites' processes share the machine with the server's. Where "
        "there are fewer processes than sites, the sites took turns in them, and each turn starts a process.",
        "",
        "| parameters | sites | processes for them | s a round | server's processor s a round | accepting (s) "
        "| merging (s) | server's peak (MiB) | all processes (MiB) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for found in measured:
        head = f"| {found['size']} | {found['sites']} | {found['processes']} "
        if "peak" not in found:
            lines.append(f"{head}| did not fit: all processes reached {mebibytes(found['all'])} MiB | | | | | |")
            continue
        lines.append(
            f"{head}| {found['seconds']:.1f} | {found['cpu']:.2f} | {found['accept']:.2f} | {found['aggregate']:.2f} "
            f"| {mebibytes(found['peak'])} | {mebibytes(found['all'])} |"
        )
    return lines


def _measured(folder: Path, size: str, sites: int, effort: Effort) -> dict[str, Any]:
    """With a process a site; where that does not fit, with fewer."""
    folder.mkdir()
    data = empty_sites(folder / "data", sites)
    job = write_job(folder / "jobs", "clients", sized(size, effort.client_rounds))
    for processes in sorted({sites, min(sites, _FEWER_PROCESSES)}, reverse=True):
        say(f"{sites} sites in {processes} processes, {size} parameters")
        found = {"size": size, "sites": sites, "processes": processes}
        finished, peak = _run(job, folder, data, sites, processes)
        if finished is not None:
            return found | _figures(finished) | {"all": peak}
        say(f"that did not fit into {MOST_BYTES / 2**30:.0f} GiB")
    return found | {"all": peak}


def _run(job: Path, folder: Path, data: Path, sites: int, processes: int) -> tuple[Finished | None, int]:
    """The finished job and the most memory seen; no job where that became too much and the simulator was ended."""
    watch = MemoryWatch(partial(_limited, psutil.Process()))
    try:
        with watch:
            finished = run_simulator(job, folder, data, sites, processes)
    except RuntimeError:
        if _most(watch) <= MOST_BYTES:
            raise
        return None, _most(watch)
    return finished, _most(watch)


def _limited(process: psutil.Process) -> dict[str, int]:
    """What ``shared_out`` finds; ends everything below ``process`` where it is too much."""
    found = shared_out(process)
    if found["all"] > MOST_BYTES:
        for child in process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
    return found


def _most(watch: MemoryWatch) -> int:
    return max((found["all"] for _, found in watch.samples), default=0)


def _figures(finished: Finished) -> dict[str, float]:
    entries = read_probe(finished)
    cpu = [after["cpu"] - before["cpu"] for before, after in pairwise(entries)]
    middle = {what: statistics.median(entry[what] for entry in entries[1:]) for what in ("accept", "aggregate")}
    return {
        "seconds": statistics.median(record.seconds for record in finished.rounds[1:]),
        "overhead": overhead_seconds(finished),
        "cpu": statistics.median(cpu),
        "peak": max(entry["peak"] for entry in entries),
        **middle,
    }
