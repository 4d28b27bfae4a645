# SPDX-License-Identifier: Apache-2.0
"""docs/scaling.md, computed from docs/results/federation.json; measures nothing.

python tests/benchmarks/scaling.py
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fedpac_me.storage import read_json, write_text

ROOT = Path(__file__).parents[2]
OUT = ROOT / "docs/scaling.md"
FEDERATION = ROOT / "docs/results/federation.json"
PROSE = Path(__file__).parent / "scaling_prose.md"
SIZES = ("4.8 M", "29.6 M")
HOSPITALS = (10, 100, 1000)
MBIT = 1e6 / 8
GIB = 2**30


class Need(NamedTuple):
    """What one server needs for a round of ``hospitals``."""

    hospitals: int
    measured: bool
    memory: float
    """Bytes at its peak."""
    processor: float
    """Seconds."""
    traffic: float
    """Bytes through its link, to the sites and back."""

    def link(self, mbit: float) -> float:
        """Seconds in which a link of so many Mbit/s each way carries the traffic."""
        return self.traffic / (mbit * MBIT)


def need(rows: Sequence[Mapping[str, Any]], payload: float, hospitals: int) -> Need:
    """A straight line through the fewest and the most sites that were measured with a process each.

    ``rows``: those of one size of network; ``payload``: bytes to one site and back.
    """
    complete = [row for row in rows if row["processes"] == row["sites"] and "peak" in row]
    few, many = complete[0], complete[-1]

    def at(key: str) -> float:
        slope = (many[key] - few[key]) / (many["sites"] - few["sites"])
        return few[key] + slope * (hospitals - few["sites"])

    inside = few["sites"] <= hospitals <= many["sites"]
    return Need(hospitals, inside, at("peak"), at("cpu"), payload * hospitals)


def page(federation: Mapping[str, Any]) -> str:
    """The prose with the tables in it."""
    parts = {"needs": _needs(federation), "accepts": _accepts(federation), "sites": _sites(federation)}
    return PROSE.read_text(encoding="utf-8").format(**parts)


def _payload(federation: Mapping[str, Any], size: str) -> float:
    return sum(federation["link"]["figures"][size]["arrays"])


def _of_size(federation: Mapping[str, Any], size: str) -> list[Mapping[str, Any]]:
    return [row for row in federation["clients"]["figures"] if row["size"] == size]


def _needs(federation: Mapping[str, Any]) -> str:
    lines = [
        "| parameters | hospitals | measured range | server's memory (GiB) | its processor (s a round) "
        "| through its link (GB a round) | on 100 Mbit/s (s) | on 1 Gbit/s (s) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for size in SIZES:
        rows = _of_size(federation, size)
        for one in (need(rows, _payload(federation, size), hospitals) for hospitals in HOSPITALS):
            lines.append(
                f"| {size} | {one.hospitals} | {'within' if one.measured else 'beyond'} | {one.memory / GIB:.1f} "
                f"| {one.processor:.0f} | {one.traffic / 1e9:.1f} | {one.link(100):.0f} | {one.link(1000):.0f} |"
            )
    return "\n".join(lines)


def _accepts(federation: Mapping[str, Any]) -> str:
    """Of the most sites of each size, by the server's clock."""
    lines = ["| parameters | sites | accept (s) |", "|---|---|---|"]
    for row in (_of_size(federation, size)[-1] for size in SIZES):
        lines.append(f"| {row['size']} | {row['sites']} | {row['accept'] / row['sites']:.2f} |")
    return "\n".join(lines)


def _sites(federation: Mapping[str, Any]) -> str:
    lines = ["| parameters | MB up | MB down | both on 100 Mbit/s (s) |", "|---|---|---|---|"]
    for size in SIZES:
        up, down = federation["link"]["figures"][size]["arrays"]
        lines.append(f"| {size} | {up / 1e6:.1f} | {down / 1e6:.1f} | {(up + down) / (100 * MBIT):.1f} |")
    return "\n".join(lines)


def main() -> int:
    """Write the page."""
    write_text(OUT, page(read_json(FEDERATION)))
    print(f"Written: {OUT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
