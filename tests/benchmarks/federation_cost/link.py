# SPDX-License-Identifier: Apache-2.0
"""A federation whose sites reach the server over slow links."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from federation_cost.effort import Effort
from federation_cost.environments import say
from federation_cost.figures import megabytes
from federation_cost.tun_link import QUEUE_SECONDS, why_not

SITES = 2
MBIT = 10
DELAY_MS = 100
TITLE = f"Links of {MBIT} Mbit/s and {DELAY_MS} ms"

_NOT_MEASURED = "not measured"
_SCRIPT = Path(__file__).parents[1] / "behind_links.py"


def measure(folder: Path, effort: Effort) -> Iterator[dict[str, Any]]:
    """By size of the network, ``None`` where the job failed, after each size; or why this machine has no such link."""
    if reason := why_not():
        yield {_NOT_MEASURED: reason}
        return
    measured: dict[str, Any] = {}
    for number, size in enumerate(effort.link_sizes):
        say(f"{size} parameters, {effort.link_rounds} rounds")
        try:
            measured[size] = run_behind_links(folder / str(number), size, effort.link_rounds)
        except subprocess.CalledProcessError:  # what it printed is on the console
            measured[size] = None
        yield measured


def run_behind_links(folder: Path, size: str, rounds: int) -> dict[str, Any]:
    """What ``behind_links.py`` prints, run in a network namespace of its own."""
    words = ["unshare", "--net", sys.executable, _SCRIPT, folder, "--sites", SITES, "--size", size, "--rounds", rounds]
    limits = ["--mbit", MBIT, "--delay-ms", DELAY_MS]
    done = subprocess.run([*map(str, [*words, *limits])], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def section(measured: dict[str, Any]) -> list[str]:
    """The page's lines."""
    if _NOT_MEASURED in measured:
        return [f"Not measured here. {measured[_NOT_MEASURED]}"]
    lines = [
        f"Provisioned kits, {SITES} sites that do not train, each in a network namespace of its own whose only way out "
        f"is a link that passes {MBIT} Mbit/s each way and takes {DELAY_MS} ms for each packet, {2 * DELAY_MS} ms for "
        f"a round trip; what would wait longer than {1e3 * QUEUE_SECONDS:.0f} ms in front of it is dropped. It is made "
        "of TUN devices (`tests/benchmarks/federation_cost/tun_link.py`) and needs no netem in the kernel.",
        "",
        "| parameters | rounds | every site in every round | s a round | the link alone, up and down (s) "
        "| MB up: arrays, wire | MB down: arrays, wire |",
        "|---|---|---|---|---|---|---|",
    ]
    for size, found in measured.items():
        if found is None:
            lines.append(f"| {size} | the job failed | | | | | |")
            continue
        (up, down), (wire_up, wire_down) = found["arrays"], found["wire"]
        complete = "yes" if all(len(sites) == SITES for sites in found["accepted"]) else "no"
        seconds = statistics.median(found["seconds"][1:])
        alone = 8 * (wire_up + wire_down) / (MBIT * 1e6)
        lines.append(
            f"| {size} | {len(found['seconds'])} | {complete} | {seconds:.1f} | {alone:.1f} "
            f"| {megabytes(up)}, {megabytes(wire_up)} | {megabytes(down)}, {megabytes(wire_down)} |"
        )
    return [
        *lines,
        "",
        "The link alone is what its rate needs for the bytes that the wire carried in a round, to the site and back. "
        "Where the wire carried much more than the arrays, something above TCP sent them again.",
    ]
