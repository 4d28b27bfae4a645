# SPDX-License-Identifier: Apache-2.0
"""The scorecard cannot say that a row holds when its test fell, is gone, or never ran."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults import scorecard
from faults.row import Row
from faults.rows import ROWS
from faults.scorecard import FALLS, HOLDS, UNTESTED, Outcomes, is_there, page, score

ROW = Row(3, "a fault", "refused", ("unit/test_a.py::test_one", "unit/test_a.py::test_two[x]"))
GOOD = {"tests/unit/test_a.py::test_one[1]": "passed", "tests/unit/test_a.py::test_two[x]": "passed"}
THERE = dict.fromkeys(ROW.tests, True)


def test_every_fault_of_the_table_has_one_row_and_every_row_a_test() -> None:
    assert [row.number for row in ROWS] == list(range(1, 45))
    assert all(row.tests and row.fault and row.expected for row in ROWS)


def test_a_row_holds_when_all_its_tests_passed() -> None:
    found = score(ROW, GOOD, THERE)
    assert (found.state, found.passed, found.wrong) == (HOLDS, 2, ())
    some_skipped = {**GOOD, "tests/unit/test_a.py::test_one[2]": "skipped"}
    assert score(ROW, some_skipped, THERE).state == HOLDS


@pytest.mark.parametrize(
    "changes",
    [
        {"tests/unit/test_a.py::test_one[2]": "failed"},
        {"tests/unit/test_a.py::test_two[x]": "failed"},
        {"tests/unit/test_a.py::test_two[x]": "skipped"},
        {"tests/unit/test_a.py::test_two[x]": None},
    ],
)
def test_a_row_falls_with_any_of_its_tests_and_with_one_that_did_not_run(changes: dict) -> None:
    ended = {node: outcome for node, outcome in {**GOOD, **changes}.items() if outcome}
    assert score(ROW, ended, THERE).state == FALLS


def test_a_row_whose_test_is_gone_has_none() -> None:
    found = score(ROW, GOOD, {**THERE, ROW.tests[0]: False})
    assert (found.state, found.wrong) == (UNTESTED, (ROW.tests[0],))
    assert score(Row(1, "a", "b", ()), GOOD, {}).state == UNTESTED


def test_names_that_only_begin_alike_are_other_tests() -> None:
    ended = {"tests/unit/test_a.py::test_one_more": "passed", "tests/unit/test_a.py::test_two[xy]": "passed"}
    assert score(ROW, ended, THERE).state == FALLS


def test_a_test_is_there_when_its_function_is(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("def test_one(x):\n    pass\n")
    for name, found in (("test_a.py", 1), ("test_a.py::test_one[é 1]", 1), ("test_a.py::test", 0), ("b.py", 0)):
        assert is_there(name, tmp_path) == bool(found)


def test_an_error_in_the_setup_or_the_end_of_a_test_counts(tmp_path: Path) -> None:
    """A run of pytest inside pytest."""
    (tmp_path / "test_b.py").write_text(
        "import pytest\n"
        "@pytest.fixture\ndef bad_start(): 1 / 0\n"
        "@pytest.fixture\ndef bad_end():\n    yield\n    1 / 0\n"
        "def test_good(): pass\ndef test_start(bad_start): pass\ndef test_end(bad_end): pass\n"
        "def test_skipped(): pytest.skip('x')\n"
    )
    outcomes = Outcomes()
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    pytest.main(["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)], plugins=[outcomes])
    names = {node.partition("::")[2]: outcome for node, outcome in outcomes.ended.items()}
    assert names == {"test_good": "passed", "test_start": "failed", "test_end": "failed", "test_skipped": "skipped"}


def test_the_page_and_the_exit_code_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    for ended, code in ((GOOD, 0), ({}, 1)):
        monkeypatch.setattr(scorecard, "ROWS", (ROW,))
        monkeypatch.setattr(scorecard, "PAGE", tmp_path / "faults.md")
        monkeypatch.setattr(scorecard, "run", lambda rows, ended=ended: ([score(ROW, ended, THERE)], 60.0))
        monkeypatch.setattr(scorecard, "stock_column", lambda rows: {3: "accepted"})
        assert scorecard.main([]) == code
        text = (tmp_path / "faults.md").read_text()
        assert f"| 3 | a fault | accepted | refused | {FALLS if code else HOLDS} |" in text
        assert f"{1 - code} of 1 rows hold" in text
    assert "Row 3 (a fault): **falls**" in capsys.readouterr().out
    assert page([score(ROW, GOOD, THERE)], {3: ""}, 1.0).count("../../tests/unit/test_a.py") == 2
