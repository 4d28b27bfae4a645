# SPDX-License-Identifier: Apache-2.0
"""Every part of `make gpu-check`, on the CPU at a size at which its figures mean nothing."""

from __future__ import annotations

import json
import math

import pytest
import torch

from gpu_check import __main__ as gpu_check
from gpu_check import page
from gpu_check.figure import Figure, slower_by
from gpu_check.perspectives import _apart
from gpu_check.setting import Setting

TINY = Setting(
    torch.device("cpu"),
    {
        "data": {"crop": 16},
        "model": {"filters": 4, "blocks_down": [1, 1, 1], "blocks_up": [1, 1]},
        "contrast": {"dimension": 4},
    },
    filters=(4,),
    shape=(32, 32, 32),
    cases=2,
    steps=2,
    repeats=1,
    compiles=False,
)
COUNTS = {
    "A step": 1,
    "Samples a second": 1,
    "Waiting for data": 2,
    "Memory": 2,
    "A whole scan": 2,
    "Perspectives on both devices": 11,
    "Same seed twice": 2,
}


@pytest.mark.slow
@pytest.mark.parametrize("title", gpu_check.PARTS)
def test_every_part_runs_on_the_device_that_it_is_given(title):
    figures = list(gpu_check.PARTS[title](TINY))
    assert len(figures) == COUNTS[title]
    for figure in figures:
        assert math.isfinite(figure.value) and figure.value >= 0, figure
    if title in ("Perspectives on both devices", "Same seed twice"):
        # One device twice, and one seed twice on a CPU, leave nothing to differ.
        assert [figure.value for figure in figures] == [0.0] * len(figures)


def test_a_perspective_that_goes_its_own_way_on_a_device_is_noticed():
    class Restless:
        calls = 0

        def set_random_state(self, seed: int) -> None:
            pass

        def drawn(self, shape: torch.Size, present: torch.Tensor):
            return self.change

        def change(self, sample: dict) -> dict:
            self.calls += 1
            return {**sample, "image": sample["image"] + self.calls}

    assert _apart(Restless(), 0, TINY) == 1


def test_without_cuda_one_sentence_says_that_it_is_skipped(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu_check, "check", lambda *_: pytest.fail("measured on a machine without CUDA"))
    assert gpu_check.main() == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "skipped" in line and "CUDA" in line


def test_what_misses_its_target_is_said_and_fails(monkeypatch, tmp_path, capsys):
    parts = {
        "One": lambda _: [slower_by("slow step", (2.4, 2.0), 1.1)],
        "Other": lambda _: [Figure("rate", 0.9, limit=0.85, at_least=True), Figure("memory", 3.0, "GiB")],
    }
    monkeypatch.setattr(gpu_check, "PARTS", parts)
    assert gpu_check.check(TINY, tmp_path) == 1
    missed = capsys.readouterr().out.split("Missed:")[1]
    assert "slow step" in missed and "rate" not in missed
    text = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "| slow step | 2.4 | 2 | 1.2 ratio | ≤ 1.1 | **no** |" in text
    assert "| rate |  |  | 0.9 ratio | ≥ 0.85 | yes |" in text
    kept = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert [figure["met"] for figure in kept["parts"]["Other"]] == [True, None]
    assert kept["command"] == page.COMMAND
    monkeypatch.setattr(gpu_check, "PARTS", {"Other": parts["Other"]})
    assert gpu_check.check(TINY, tmp_path) == 0
