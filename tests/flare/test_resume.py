# SPDX-License-Identifier: Apache-2.0
"""A run whose processes were killed goes on in another job, and ends with the bytes of one that was left alone."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fedpac_me.federation.run_state import states_in
from fedpac_me.model.checkpoint import BEST_MODEL, FINAL_MODEL, find_checkpoint, read_checkpoint
from fedpac_me.run_info import weights_hash
from flare_tools import ROOT, Command, run_command, run_here

TRAIN = [sys.executable, ROOT / "jobs/train.py"]
ROUNDS = 8


def model_hash(run: Path, file_name: str = FINAL_MODEL) -> str:
    return weights_hash(read_checkpoint(find_checkpoint(run, file_name)))


def ledger_without_time(run: Path) -> list[dict]:
    (path,) = run.rglob("ledger.json")
    rounds = json.loads(path.read_text())["rounds"]
    for entry in rounds:
        for part in (entry, *entry["accepted"]):
            del part["seconds"]
    return rounds


def cases_without_time(run: Path) -> list[list[str]]:
    header, *rows = csv.reader((run / "cases.csv").read_text().splitlines())
    return [[value for name, value in zip(header, row, strict=True) if name != "seconds"] for row in rows]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def arguments(whole_method, hospitals) -> list[str | Path]:
    return ["--config", whole_method, "--data", hospitals, "--rounds", str(ROUNDS)]


@pytest.fixture(scope="module")
def uninterrupted(train_module, place, arguments) -> Path:
    done = run_here(train_module.main, *arguments, "--name", "whole", cwd=place)
    assert done.code == 0, done.out + done.err
    return place / "runs/whole"


@pytest.fixture(scope="module")
def killed(place, arguments) -> Path:
    """A run all of whose processes were killed in its third or a later round."""
    run = subprocess.Popen([*TRAIN, *arguments, "--name", "killed"], cwd=place, stdout=subprocess.PIPE, text=True)
    for line in run.stdout:
        if line.startswith(f"round 3/{ROUNDS}"):
            starter = psutil.Process(run.pid)
            for process in [starter, *starter.children(recursive=True)]:
                process.kill()
    assert run.wait(60) == -signal.SIGKILL
    assert not (place / "runs/killed/run.json").exists()
    return place / "runs/killed"


@pytest.fixture(scope="module")
def resumed(place, killed, hospitals) -> Command:
    return run_command(*TRAIN, "--resume", killed, "--data", hospitals, cwd=place)


def test_the_resumed_run_equals_the_uninterrupted_one(resumed, uninterrupted, place):
    assert resumed.code == 0, resumed.out + resumed.err
    assert resumed.out.startswith("Going on after round ")
    for file_name in (FINAL_MODEL, BEST_MODEL):
        assert model_hash(place / "runs/experts-resumed", file_name) == model_hash(uninterrupted, file_name)


def test_the_resumed_run_tells_of_all_rounds_and_did_not_do_all_of_them(resumed, uninterrupted, place):
    told = [line for line in resumed.out.splitlines() if line.startswith("round ")]
    assert 1 <= len(told) <= ROUNDS - 2
    assert told[-1].startswith(f"round {ROUNDS}/{ROUNDS}")
    ledgers = [ledger_without_time(run) for run in (place / "runs/experts-resumed", uninterrupted)]
    assert len(ledgers[0]) == ROUNDS
    assert ledgers[0] == ledgers[1]


def test_the_state_before_the_newest_one_gives_the_same_bytes(
    train_module, resumed, killed, uninterrupted, place, hospitals
):
    newest = states_in(next(killed.rglob("fedpac_me/state-*.npz")).parent)[-1][1]
    newest.write_bytes(newest.read_bytes()[:-100])
    again = run_here(train_module.main, "--resume", killed, "--data", hospitals, "--name", "again", cwd=place)
    assert again.code == 0, again.out + again.err
    assert f"Passed over: {newest}" in again.err
    assert model_hash(place / "runs/again") == model_hash(uninterrupted)


def test_a_run_that_has_gone_on_can_go_on_again(train_module, resumed, place, hospitals):
    more = ["--resume", "runs/experts-resumed", "--rounds", str(ROUNDS + 1), "--data", hospitals, "--name", "longer"]
    longer = run_here(train_module.main, *more, cwd=place)
    assert longer.code == 0, longer.out + longer.err
    assert len(ledger_without_time(place / "runs/longer")) == ROUNDS + 1


def test_a_run_that_has_done_its_rounds_is_only_evaluated(uninterrupted, place, hospitals):
    state = states_in(next(uninterrupted.rglob("fedpac_me/state-*.npz")).parent)[-1][1]
    again = run_command(*TRAIN, "--resume", state, "--data", hospitals, "--name", "evaluated", cwd=place)
    assert again.code == 0, again.out + again.err
    assert [line for line in again.out.splitlines() if line.startswith("round ")] == []
    assert cases_without_time(place / "runs/evaluated") == cases_without_time(uninterrupted)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--resume", "nowhere"], "found those of 0"),
        (["--resume", "runs/whole", "--seed", "3"], "its own seed"),
        (["--resume", "runs/whole", "--rounds", "2"], "Pass more --rounds"),
        (["--resume", "runs/whole", "--name", "whole", "--replace"], "would delete it"),
        (["--resume", "runs/whole/report.json"], "holds no state of a run"),
    ],
)
def test_bad_input_is_a_sentence_and_nothing_is_lost(train_module, uninterrupted, place, words, sentence):
    done = run_here(train_module.main, *words, cwd=place)
    assert (done.code, sentence in done.err, "Traceback" in done.err) == (2, True, False), done.err
    assert model_hash(uninterrupted)
