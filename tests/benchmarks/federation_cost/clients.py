# SPDX-License-Identifier: Apache-2.0
"""How the server's time and memory grow with the number of sites and the size of the network."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
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
from federation_cost.probe import ledger_bytes, read_probe
from federation_cost.watch import MemoryWatch, shared_out

TITLE = "Number of sites and size of the network"
MOST_BYTES = 18 * 2**30
"""Of all processes together; leaves room for the system on a machine of 24 GiB."""

_FEWER_PROCESSES = 10


def measure(folder: Path, effort: Effort) -> Iterator[list[dict[str, Any]]]:
    """One entry a network, number of sites and number of processes for them; after each federation, those so far."""
    measured: list[dict[str, Any]] = []
    for size in effort.client_sizes:
        for sites in effort.clients:
            measured += _measured(folder / f"{size[:-2]}-{sites}", size, sites, effort)
            yield measured


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
            why = "did not fit" if found["all"] > MOST_BYTES else "the simulator failed"
            lines.append(f"{head}| {why} | | | | | {mebibytes(found['all'])} |")
            continue
        lines.append(
            f"{head}| {found['seconds']:.1f} | {found['cpu']:.2f} | {found['accept']:.2f} | {found['aggregate']:.2f} "
            f"| {mebibytes(found['peak'])} | {mebibytes(found['all'])} |"
        )
    return [*lines, "", *_growth(measured)]


def _growth(measured: list[dict[str, Any]]) -> list[str]:
    """What one more site costs the server, by size: from the fewest to the most sites with a process each."""
    sentences = []
    complete = [found for found in measured if "peak" in found and found["processes"] == found["sites"]]
    for size in dict.fromkeys(found["size"] for found in complete):
        rows = [found for found in complete if found["size"] == size]
        few, many = rows[0], rows[-1]
        more = many["sites"] - few["sites"]
        if more > 0:
            memory, cpu = (many["peak"] - few["peak"]) / more, (many["cpu"] - few["cpu"]) / more
            sentences.append(
                f"{size} parameters, from {few['sites']} to {many['sites']} sites: each further site costs the server "
                f"{mebibytes(memory)} MiB at its peak ({memory / few['model']:.1f} models) and {cpu:.2f} processor "
                "seconds a round."
            )
    return sentences


def _measured(folder: Path, size: str, sites: int, effort: Effort) -> list[dict[str, Any]]:
    """With a process a site; where that does not fit, that it does not, and then with fewer."""
    folder.mkdir()
    data = empty_sites(folder / "data", sites)
    job = write_job(folder / "jobs", "clients", sized(size, effort.client_rounds))
    tried = []
    for processes in sorted({sites, min(sites, _FEWER_PROCESSES)}, reverse=True):
        say(f"{sites} sites in {processes} processes, {size} parameters")
        finished, peak = _run(job, folder, data, sites, processes)
        figures = {} if finished is None else _figures(finished)
        tried.append({"size": size, "sites": sites, "processes": processes, "all": peak, **figures})
        if finished is not None:
            break
        say(f"it did not finish; all processes had {mebibytes(peak)} MiB at their peak, of {mebibytes(MOST_BYTES)}")
    return tried


def _run(job: Path, folder: Path, data: Path, sites: int, processes: int) -> tuple[Finished | None, int]:
    """The job, ``None`` where it failed or was ended because memory became too much; and the most memory seen."""
    watch = MemoryWatch(partial(_limited, psutil.Process()))
    finished = None
    with watch, suppress(RuntimeError):
        finished = run_simulator(job, folder, data, sites, processes)
    return finished, max((found["all"] for _, found in watch.samples), default=0)


def _limited(process: psutil.Process) -> dict[str, int]:
    """What ``shared_out`` finds; ends everything below ``process`` where it is too much."""
    found = shared_out(process)
    if found["all"] > MOST_BYTES:
        for child in process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
    return found


def _figures(finished: Finished) -> dict[str, float]:
    entries = read_probe(finished)
    cpu = [after["cpu"] - before["cpu"] for before, after in pairwise(entries)]
    middle = {what: statistics.median(entry[what] for entry in entries[1:]) for what in ("accept", "aggregate")}
    return {
        "seconds": statistics.median(record.seconds for record in finished.rounds[1:]),
        "cpu": statistics.median(cpu),
        "peak": max(entry["peak"] for entry in entries),
        "model": ledger_bytes(finished)[1],
        **middle,
    }
