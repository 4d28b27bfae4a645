# SPDX-License-Identifier: Apache-2.0
"""A round outside the sites' own work: its seconds, and what goes over the wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from federation_cost.data import empty_sites
from federation_cost.effort import Effort
from federation_cost.environments import ENVIRONMENTS, Finished, say
from federation_cost.figures import megabytes
from federation_cost.job import sized, write_job
from federation_cost.probe import ledger_bytes, overhead_seconds, read_probe, wire_bytes

SITES = 4
TITLE = "A round outside the sites' work"


def measure(folder: Path, effort: Effort) -> Iterator[dict[str, Any]]:
    """By environment and size of the network; after each environment, those so far."""
    data = empty_sites(folder / "data", SITES)
    jobs = {
        size: write_job(folder / "jobs", f"rounds{number}", sized(size, effort.rounds))
        for number, size in enumerate(effort.sizes)
    }
    measured: dict[str, Any] = {}
    for name, enter in ENVIRONMENTS.items():
        say(f"{name}: starting")
        with enter(folder, data, SITES) as run:
            for size, job in jobs.items():
                say(f"{name}: {effort.rounds} rounds, {size} parameters")
                measured.setdefault(name, {})[size] = _figures(run(job))
        yield measured


def section(measured: dict[str, Any]) -> list[str]:
    """The page's lines."""
    lines = [
        f"{SITES} sites that answer without training. Overhead: a round by the server's clock minus the slowest site's "
        "own seconds, the median over the rounds but the first. Bytes: a round and site, 10⁶; the arrays as the ledger "
        "counts them, and what TCP carried to and from the server's port (`ss -i`), from the end of the first round to "
        "that of the last.",
        "",
        "| where | parameters | rounds | overhead (s) | of it accepting and merging (s) | MB up: arrays, wire "
        "| MB down: arrays, wire |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, sizes in measured.items():
        for size, found in sizes.items():
            (up, down), (wire_up, wire_down) = found["arrays"], found["wire"]
            lines.append(
                f"| {name} | {size} | {found['rounds']} | {found['overhead']:.2f} | {found['server']:.3f} "
                f"| {megabytes(up)}, {megabytes(wire_up)} | {megabytes(down)}, {megabytes(wire_down)} |"
            )
    return [
        *lines,
        "",
        "By FLARE's default a site that has answered waits two seconds before it asks for more "
        "(`task_request_interval`). POC kits speak mutual TLS as provisioned ones do. Beyond the arrays the wire "
        "carries a few hundred bytes a tensor, TLS and heartbeats.",
    ]


def _figures(finished: Finished) -> dict[str, Any]:
    busy = [entry["accept"] + entry["aggregate"] for entry in read_probe(finished)]
    return {
        "rounds": len(busy),
        "overhead": overhead_seconds(finished),
        "server": sum(busy) / len(busy),
        "arrays": ledger_bytes(finished),
        "wire": wire_bytes(finished),
    }
