# SPDX-License-Identifier: Apache-2.0
"""What a site keeps from job to job: a job that goes on finds it, no other job does."""

from __future__ import annotations

import os

import pytest
import torch

from fedpac_me.learning.site_state import SiteState, states_of_job

CPU = torch.device("cpu")


def saved(folder, *rounds: int) -> None:
    for number in rounds:
        SiteState({"step": number}, {"bias": torch.full((2,), float(number))}).save(folder, number)


def test_a_new_job_finds_nothing(tmp_path):
    saved(states_of_job(tmp_path, "first"), 0, 1)
    assert SiteState.load(states_of_job(tmp_path, "second"), CPU) is None


def test_a_job_that_goes_on_has_copies_and_leaves_the_originals_alone(tmp_path):
    first = states_of_job(tmp_path, "first")
    saved(first, 3, 4, 5)
    second = states_of_job(tmp_path, "second", first)
    assert SiteState.load(second, CPU, before=5).optimizer == {"step": 4}
    saved(second, 5, 6, 7)
    assert SiteState.load(first, CPU).optimizer == {"step": 5}
    third = states_of_job(tmp_path, "third", first)
    assert SiteState.load(third, CPU).optimizer == {"step": 5}


def test_a_restarted_site_goes_on_with_its_own_and_copies_nothing_again(tmp_path):
    first = states_of_job(tmp_path, "first")
    saved(first, 5)
    second = states_of_job(tmp_path, "second", first)
    saved(second, 6)
    saved(first, 9)
    assert SiteState.load(states_of_job(tmp_path, "second", first), CPU).optimizer == {"step": 6}


def test_a_site_may_go_back_two_rounds(tmp_path):
    saved(tmp_path, 0, 1, 2, 3, 4)
    for before, step in ((5, 4), (4, 3), (3, 2)):
        assert SiteState.load(tmp_path, CPU, before=before).optimizer == {"step": step}
    assert SiteState.load(tmp_path, CPU, before=2) is None


@pytest.mark.parametrize("earlier", [None, "gone"])
def test_where_there_is_nothing_to_copy_the_job_starts_empty(tmp_path, earlier):
    folder = states_of_job(tmp_path / "root", "job", earlier and tmp_path / earlier)
    assert folder.is_dir() and not any(folder.iterdir())


def test_states_of_jobs_long_past_are_deleted(tmp_path):
    for age, job in enumerate(["oldest", "older", "old", "recent"]):
        folder = states_of_job(tmp_path, job)
        os.utime(folder, (1000 + age, 1000 + age))
    states_of_job(tmp_path, "new")
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["new", "old", "older", "recent"]
