# SPDX-License-Identifier: Apache-2.0
"""A run whose processes were killed goes on in another job, and ends with the bytes of one that was left alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fedpac_me.model.checkpoint import BEST_MODEL, FINAL_MODEL, find_checkpoint, read_checkpoint
from fedpac_me.run_info import weights_hash
from flare_tools import ROOT, Command, run_command

TRAIN = [sys.executable, ROOT / "jobs/train.py"]
ROUNDS = 8


def model_hash(run: Path, file_name: str = FINAL_MODEL) -> str:
    return weights_hash(read_checkpoint(find_checkpoint(run, file_name)))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("resume")


@pytest.fixture(scope="module")
def words(whole_method, hospitals) -> list[str | Path]:
    return ["--config", whole_method, "--data", hospitals, "--rounds", str(ROUNDS)]


@pytest.fixture(scope="module")
def uninterrupted(place, words) -> Path:
    done = run_command(*TRAIN, *words, "--name", "whole", cwd=place)
    assert done.code == 0, done.out + done.err
    return place / "runs/whole"


@pytest.fixture(scope="module")
def killed(place, words) -> Path:
    """A run all of whose processes were killed in its third or a later round."""
    run = subprocess.Popen([*TRAIN, *words, "--name", "killed"], cwd=place, stdout=subprocess.PIPE, text=True)
    for line in run.stdout:
        if line.startswith(f"round 2/{ROUNDS}"):
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
