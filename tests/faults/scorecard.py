# SPDX-License-Identifier: Apache-2.0
"""Runs every test of the table of faults and writes docs/results/faults.md; fails when a row falls or has no test.

    make faults
    PYTHONPATH=tests:tests/flare python -m faults.scorecard --rows 1-24

With --rows the table goes to the screen, and the page stays as it is.
"""

from __future__ import annotations

import argparse
import logging
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import pytest

from faults.row import Row
from faults.rows import ROWS
from federation.contributions import honest
from fedpac_me.storage import write_text
from stock_aggregator import outcome
from update_faults import ACCEPTED, REFUSED

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/results/faults.md"

HOLDS, FALLS, UNTESTED = "holds", "**falls**", "**no test**"


@dataclass(eq=False)  # a plugin must be hashable
class Outcomes:
    """A pytest plugin that remembers how every test ended, by its node id."""

    ended: dict[str, str] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest for the setup, the call and the end of every test; the worst of the three counts."""
        counts = report.when == "call" or report.outcome != "passed"
        if counts and self.ended.get(report.nodeid) != "failed":
            self.ended[report.nodeid] = report.outcome


@dataclass(frozen=True)
class Score:
    """How a row did: its ``state``, how many tests passed, and which are missing or did not pass."""

    row: Row
    state: str
    passed: int
    wrong: tuple[str, ...]


def is_there(test: str, tests: Path = ROOT / "tests") -> bool:
    """Whether a node id names a function that exists."""
    file, _, name = test.partition("::")
    path = tests / file
    return path.is_file() and (not name or f"def {name.partition('[')[0]}(" in path.read_text(encoding="utf-8"))


def score(row: Row, ended: Mapping[str, str], there: Mapping[str, bool]) -> Score:
    """A row holds when each of its tests is there and one or more ran, and none failed."""
    missing = [test for test in row.tests if not there[test]]
    ran = {test: [outcome for node, outcome in ended.items() if belongs(node, test)] for test in row.tests}
    failed = [test for test, outcomes in ran.items() if there[test] and not _good(outcomes)]
    passed = sum(outcomes.count("passed") for outcomes in ran.values())
    state = FALLS if failed else UNTESTED if missing or not row.tests else HOLDS
    return Score(row, state, passed, (*missing, *failed))


def belongs(node: str, test: str) -> bool:
    """Whether the test that ran is the one that a row names, or one of its parameters."""
    node = node.removeprefix("tests/")
    return node == test or node.startswith((f"{test}[", f"{test}::"))


def _good(outcomes: Sequence[str]) -> bool:
    return "passed" in outcomes and "failed" not in outcomes


def run(rows: Sequence[Row]) -> tuple[list[Score], float]:
    """The rows' scores, and the seconds that their tests took."""
    there = {test: is_there(test) for row in rows for test in row.tests}
    names = [f"{ROOT}/tests/{test}" for test, found in there.items() if found]
    outcomes, start = Outcomes(), time.monotonic()
    pytest.main(["-q", "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"), *names], plugins=[outcomes])
    return [score(row, outcomes.ended, there) for row in rows], time.monotonic() - start


def stock_column(rows: Sequence[Row]) -> dict[int, str]:
    """What FLARE's own aggregator makes of each row's faults, tried now; what is known of it where it was not."""
    logging.disable(logging.CRITICAL)
    changes = {name: change for row in (REFUSED, ACCEPTED) for faults in row.values() for name, change, *_ in faults}
    found = {}
    for row in rows:
        if isinstance(row.stock, str):
            found[row.number] = row.stock
        else:
            said = [outcome(changes[name](honest("site-3", 3))) for name in row.stock]
            found[row.number] = "; ".join(dict.fromkeys(said))
    logging.disable(logging.NOTSET)
    return found


def page(scores: Sequence[Score], stock: Mapping[int, str], seconds: float) -> str:
    """The scorecard as markdown."""
    holding = sum(found.state == HOLDS for found in scores)
    lines = [
        "# What goes wrong, and what happens then",
        "",
        f"`make faults` wrote this page: it runs the tests of every row and fails when a row falls. {holding} of "
        f"{len(scores)} rows hold; {sum(found.passed for found in scores)} tests passed in {seconds / 60:.0f} min, "
        f"Python {platform.python_version()}, nvflare {version('nvflare')}, numpy {version('numpy')}.",
        "",
        "A refused update is a sentence in the ledger and in the log, and leaves the sums as they were, to the byte. "
        "The column of FLARE's own aggregator (`InTimeAccumulateWeightedAggregator`) says what it did when this page "
        "was written, with two honest sites beside the faulty one; where it was not asked, the column is empty or says "
        "so.",
        "",
        "| # | fault | FLARE's own aggregator | this project | row | tests |",
        "|---|---|---|---|---|---|",
    ]
    for found in scores:
        row = found.row
        tests = "<br>".join(f"[`{test}`](../../tests/{test.partition('::')[0]})" for test in row.tests)
        what = f"{row.number} | {row.fault} | {stock[row.number]} | {row.expected} | {found.state}"
        lines.append(f"| {what} | {tests.replace('|', '&#124;')} |")
    wrong = [f"- Row {found.row.number}: `{test}`" for found in scores for test in found.wrong]
    if wrong:
        lines += ["", "Missing, or not passed:", "", *wrong]
    return "\n".join(lines) + "\n"


def main(words: Sequence[str] | None = None) -> int:
    """0 when every row holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", help="a number, or two with a dash between them (default: all)")
    args = parser.parse_args(words)
    low, _, high = (args.rows or f"1-{ROWS[-1].number}").partition("-")
    rows = [row for row in ROWS if int(low) <= row.number <= int(high or low)]
    scores, seconds = run(rows)
    text = page(scores, stock_column(rows), seconds)
    if args.rows:
        print(text)
    else:
        write_text(PAGE, text)
    for found in scores:
        if found.state != HOLDS:
            print(f"Row {found.row.number} ({found.row.fault}): {found.state}: {', '.join(found.wrong)}")
    print(f"{sum(found.state == HOLDS for found in scores)} of {len(scores)} rows hold.")
    return 0 if all(found.state == HOLDS for found in scores) else 1


if __name__ == "__main__":
    raise SystemExit(main())
