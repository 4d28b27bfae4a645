# SPDX-License-Identifier: Apache-2.0
"""Runs of a comparison, really trained on next to nothing: complete or not there, the same whatever --jobs is."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import shutil
import signal
from contextlib import redirect_stdout

import pytest
from made_up_comparison import method

from cases import write_case
from fedpac_me.cli import main
from fedpac_me.comparison.datasets import opened
from fedpac_me.comparison.figures import read_figures
from fedpac_me.comparison.methods import load_methods
from fedpac_me.comparison.plan import PlannedRun, plan_runs
from fedpac_me.comparison.run import PARTIAL, Task, execute

pytestmark = pytest.mark.slow  # whole federations, in processes

TINY = {
    "data": {"crop": 16},
    "model": {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1]},
    "learning": {"steps_per_round": 1},
    "federation": {"rounds": 2},
    "evaluation": {"validation_every": 1},
}
BAD = {"model": {**TINY["model"], "experts": 9}}
"""More experts than the sites have styles."""

KEPT = {
    "config.json", "run.json", "ledger.json", "cross_val_results.json", "report.html", "report.json", "cases.csv",
    "identity.json", "site-1", "site-2", "site-3",
}  # fmt: skip


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "hospitals"
    for site in ("site-1", "site-2", "site-3"):
        ids = [f"{site}_{number}" for number in range(4)]
        for number, case in enumerate(ids):
            write_case(root / site, case, edge=16, seed=number)
        (root / site / "splits.json").write_text(
            json.dumps({"train": ids[:2], "validation": ids[2:3], "test": ids[3:]})
        )
    (root / "site-3" / "site.json").write_text('{"role": "evaluate"}')
    return root


def planned(tmp_path, hospitals, out: str, **config) -> PlannedRun:
    tiny = method(tmp_path, "tiny", **{**TINY, **config})
    with opened([hospitals]) as data:
        (run,) = plan_runs([tiny], data, [0], tmp_path / out)
    return run


def run_here(run: PlannedRun) -> list[str]:
    lines: list[str] = []
    execute(Task.of(run, run.out / ".scans"), lines.append)
    return lines


def test_a_run_leaves_its_figures_and_no_scan_or_state(tmp_path, hospitals):
    run = planned(tmp_path, hospitals, "out")
    assert not run.done
    assert len(run_here(run)) == 2
    assert run.done and {path.name for path in run.folder.iterdir()} == KEPT
    assert [path.name for path in (run.folder / "site-1").iterdir()] == ["pictures"]
    assert (run.folder / "report.html").read_text().count("<img ") == 3
    figures = read_figures(run)
    assert [point.rounds for point in figures.curve] == [0, 1, 2]
    assert figures.bytes_up > 0 and figures.seconds > 0
    assert {key[0] for key in figures.cases["seen"]} == {"site-1", "site-2"}
    assert {key[0] for key in figures.cases["unseen"]} == {"site-3"}
    # What was run is what config.json says: its path can be given to --methods.
    assert load_methods([str(run.folder / "config.json")])[0].config == run.config


def test_sites_that_share_nothing_are_judged_by_their_own_models(tmp_path, hospitals):
    run = planned(tmp_path, hospitals, "local", federation={"rounds": 2, "share": "nothing", "quorum": 0})
    run_here(run)
    report = json.loads((run.folder / "report.json").read_text())
    assert set(report["models"]) == {"site-1", "site-2"}
    assert len(read_figures(run).cases["seen"]) == 2 and len(read_figures(run).cases["unseen"]) == 1
    last = json.loads((run.folder / "ledger.json").read_text())["rounds"][-1]["metrics"]
    assert set(read_figures(run).report["sites"]) == {"site-1", "site-2", "site-3"}
    assert "dice_mean" in last["site-1"]


def test_all_data_in_one_place_is_judged_at_the_hospitals(tmp_path, hospitals):
    run = planned(tmp_path, hospitals, "central", pooled=True, federation={"rounds": 1, "quorum": 1})
    run_here(run)
    figures = read_figures(run)
    assert set(figures.report["sites"]) == {"site-1", "site-2", "site-3"}
    assert figures.validation is not None


def test_a_run_that_fails_leaves_nothing(tmp_path, hospitals):
    run = planned(
        tmp_path, hospitals, "out", model={"filters": 4, "blocks_down": [1, 1], "blocks_up": [1], "experts": 9}
    )
    with pytest.raises(Exception, match="expert"):
        run_here(run)
    assert not list(run.folder.parent.iterdir())


def compare(folder, hospitals, *words: str) -> int:
    """The command on a good method, and whatever ``words`` add; the exit code."""
    good = method(folder, "tiny", **TINY)
    words = ("--data", str(hospitals), "--out", str(folder / "out"), *words)
    return main(["compare", *words, "--methods", str(good.path)])


@pytest.fixture(scope="module")
def finished(tmp_path_factory, hospitals):
    """Two methods side by side, in processes; one of them cannot train."""
    folder = tmp_path_factory.mktemp("finished")
    good, bad = (method(folder, name, **{**TINY, **more}) for name, more in (("tiny", {}), ("bad", BAD)))
    lines = io.StringIO()
    words = ["--data", str(hospitals), "--out", str(folder / "out"), "--seeds", "0", "--jobs", "2"]
    with redirect_stdout(lines):
        code = main(["compare", "--methods", str(good.path), str(bad.path), *words])
    return folder, code, lines.getvalue()


def test_a_failed_run_is_told_and_marked_and_the_others_go_on(finished):
    folder, code, printed = finished
    assert code == 1
    (told,) = [line for line in printed.splitlines() if "bad, hospitals, seed 0: failed. " in line]
    assert "expert" in told and "tiny, hospitals, seed 0: done in " in printed
    found = json.loads((folder / "out" / "comparison.json").read_text())["methods"]
    assert len(found["tiny"]["runs"]) == 1 and found["tiny"]["failed"] == []
    assert found["bad"]["runs"] == [] and found["bad"]["failed"] == [{"data": "hospitals", "seed": 0}]
    assert "1 failed" in (folder / "out" / "comparison.html").read_text()
    left = {"data", "runs", "comparison.html", "comparison.json", "comparison.csv", ".lock"}
    assert {path.name for path in (folder / "out").iterdir()} <= left


def test_beside_others_or_alone_a_run_gives_the_same_bytes(finished, tmp_path, hospitals):
    alone = planned(tmp_path, hospitals, "out")
    run_here(alone)
    together = finished[0] / "out" / "runs" / alone.folder.name
    assert results(together) == results(alone.folder)


def test_what_is_there_is_not_run_again_and_what_is_missing_is(finished, hospitals, tmp_path, capsys):
    folder = shutil.copytree(finished[0], tmp_path / "copy")
    (kept,) = (folder / "out" / "runs").iterdir()
    leftover = kept.parent / f"{PARTIAL}left"
    leftover.mkdir()
    stamp = kept.stat().st_mtime_ns
    assert compare(folder, hospitals, "--seeds", "0,1", "--jobs", "1") == 0
    printed = capsys.readouterr().out
    assert "2 runs, 1 of them done already." in printed and "[1/1] tiny, hospitals, seed 1: done in" in printed
    assert (kept.stat().st_mtime_ns, leftover.exists()) == (stamp, False)
    assert len(list(kept.parent.iterdir())) == 2
    assert compare(folder, hospitals, "--seeds", "0,1", "--jobs", "1") == 0
    assert "2 runs, 2 of them done already." in capsys.readouterr().out


def test_two_comparisons_do_not_write_to_one_folder(finished, hospitals, capsys):
    folder = finished[0]
    with open(folder / "out" / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert compare(folder, hospitals, "--seeds", "0") == 2
    assert "Another comparison is at work in" in capsys.readouterr().err


def test_a_command_that_is_terminated_leaves_neither_scans_nor_half_a_run(hospitals, tmp_path, monkeypatch, capsys):
    def terminated(tasks, jobs, tell):
        for folder in (tasks[0].cache, tasks[0].folder.parent / f"{PARTIAL}half"):
            (folder / "scans").mkdir(parents=True)
        signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("fedpac_me.comparison.compare.run_all", terminated)
    assert compare(tmp_path, hospitals, "--seeds", "0") == 130
    assert capsys.readouterr().err.endswith("the same command does the rest.\n")
    assert {path.name for path in (tmp_path / "out").rglob("*")} == {".lock", "runs"}
    assert signal.getsignal(signal.SIGTERM) == before


def results(folder) -> tuple:
    """Hash of the model and the scores of every case; times left out."""
    with open(folder / "cases.csv", newline="") as file:
        rows = [{name: text for name, text in row.items() if name != "seconds"} for row in csv.DictReader(file)]
    return json.loads((folder / "run.json").read_text())["model_hash"], rows
