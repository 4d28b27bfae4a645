# SPDX-License-Identifier: Apache-2.0
"""Every figure of docs/results/federation.md: what a federation costs beside the training.

python tests/benchmarks/federation.py                       all parts, one after the other
python tests/benchmarks/federation.py start rounds          these again; the page keeps the others
python tests/benchmarks/federation.py memory --short        shows in minutes that it works; writes no page
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

from federation_cost import clients, link, memory, rounds, start
from federation_cost.effort import FULL, SHORT, Effort
from fedpac_me.hardware import machine, versions
from fedpac_me.storage import read_json, write_json, write_text

ROOT = Path(__file__).parents[2]
OUT = ROOT / "docs/results/federation.md"
KEPT = ROOT / "docs/results/federation.json"
PARTS: dict[str, ModuleType] = {"start": start, "rounds": rounds, "memory": memory, "clients": clients, "link": link}


def main() -> int:
    """Measure, keep the figures, write the page of what has been measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"what to measure: {' '.join(PARTS)} (default: all)")
    parser.add_argument("--remark", default="", help="a sentence for the page, such as what else the machine did")
    parser.add_argument("--short", action="store_true", help="a few rounds of little; prints, writes no page")
    args = parser.parse_args()
    unknown = [name for name in args.parts if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    logging.getLogger().addHandler(logging.NullHandler())
    for name in args.parts or PARTS:
        print(f"Measuring: {name} ...", file=sys.stderr, flush=True)
        for measured in _measured(name, SHORT if args.short else FULL):
            if not args.short:
                _keep(name, measured | {"remark": args.remark})
                _write_page()
        if args.short:
            print("\n".join(_section(name, measured)))
    return 0


def _measured(name: str, effort: Effort) -> Iterator[dict[str, Any]]:
    """What is known of a part, again and again, so that what ends before its time leaves what it has."""
    with tempfile.TemporaryDirectory(prefix="fedpac_me_bench_") as folder:
        for figures in PARTS[name].measure(Path(folder), effort):
            yield {"figures": figures, "on": date.today().isoformat(), "machine": {**machine(), **versions()}}


def _keep(name: str, measured: dict[str, Any]) -> None:
    write_json(KEPT, (read_json(KEPT) if KEPT.is_file() else {}) | {name: measured})


def _write_page() -> None:
    kept = read_json(KEPT)
    head = [
        "# A federation, measured",
        "",
        "`make bench-federation` wrote this page: what FLARE and this project add to the training. Everything ran on "
        "one machine, so server and sites share its processor. Seed 0. A site that does not train answers with a "
        "thousandth of the model; otherwise its answer is as any site's, and the server that of every job.",
    ]
    sections = ["\n".join(_section(name, kept[name]) if name in kept else _not_yet(name)) for name in PARTS]
    write_text(OUT, "\n\n".join(["\n".join(head), *sections]) + "\n")
    print(f"Written: {OUT}")


def _not_yet(name: str) -> list[str]:
    return [f"## {PARTS[name].TITLE}", "", f"Not measured yet: `python tests/benchmarks/federation.py {name}`."]


def _section(name: str, measured: dict[str, Any]) -> list[str]:
    facts = ", ".join(f"{key} {value}" for key, value in measured["machine"].items())
    return [
        f"## {PARTS[name].TITLE}",
        "",
        f"`python tests/benchmarks/federation.py {name}`, {measured['on']}. Machine and versions: {facts}."
        + (f" {remark}" if (remark := measured.get("remark")) else ""),
        "",
        *PARTS[name].section(measured["figures"]),
    ]


if __name__ == "__main__":
    sys.exit(main())
