# SPDX-License-Identifier: Apache-2.0
"""Several processes in a site's training step give what one gives, refuse what they cannot share, and never hang.

Starting a process takes seconds, so most of these have the other rank in a thread: all but its start and its end, the
pipe and gloo too, is as it is in a process.
"""

from __future__ import annotations

import gc
import json
import os
from contextlib import suppress
from multiprocessing import Pipe, active_children
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import torch
from small_federation import batches, config, farthest

from cases import save, write_case
from fedpac_me.data.site import SiteSettings, folder_settings
from fedpac_me.engine import run_federation
from fedpac_me.errors import InputError
from fedpac_me.learning import rank_limits, ranks
from fedpac_me.learning.rank_limits import rank_devices, require_shared_memory
from fedpac_me.learning.rank_work import Group, _Rank
from fedpac_me.learning.site import Site, SiteUpdate
from fedpac_me.learning.site_state import SiteState
from fedpac_me.learning.trainer import TrainingFailed
from fedpac_me.model.backbone import build_model, get_weights

LOSS_TOLERANCE = 5e-7
"""1.2e-7 was measured, one bit of a float32 near 1."""
DIFF_TOLERANCE = 5e-6
"""Of any value of an update, whose largest are 0.02 and more; 5.1e-7 was measured, 6e-8 in the gradients. With other
cases it may be more: where a rounding moves an activation over a ReLU's edge, the next gradient jumps."""

EXPERTS = {"experts": 2, "adapter_rank": 2, "own": "all"}
PULL = {"prototype_weight": 0.05, "start": 0.0, "ramp": 0.0, "minimum_count": 0.0, "dimension": 4}
ONE_SITE = {"quorum": 1}
"""So that what it sends is merged: a round without a merge has no prototypes."""
METHODS = {
    "plain": {},
    "fedprox": {"algorithm": {"name": "fedprox", "proximal_weight": 1.0}},
    "scaffold": {"algorithm": {"name": "scaffold"}},
    "ditto": {"algorithm": {"name": "ditto", "proximal_weight": 1.0}},
    "fedrep": {"algorithm": {"name": "fedrep", "head_steps": 1}, "model": {"own": "last_layer"}},
    "experts, own parts and prototypes": {"model": EXPERTS, "contrast": PULL, "federation": ONE_SITE},
    "attacked images": {"perspectives": {"fgsm": {"probability": 1.0}}},
    "nothing is shared": {"federation": {"share": "nothing"}},
}


class ThreadAsProcess:
    """What ``ranks`` wants of a process."""

    def __init__(self, target, args, daemon) -> None:
        self._ended, ended = Pipe()
        there = Connection(os.dup(args[0].fileno()))  # the leader closes its copy

        def run() -> None:
            with suppress(Exception):
                target(there, *args[1:])
            there.close()
            ended.close()

        self._thread = Thread(target=run, daemon=daemon)
        self.sentinel, self.exitcode = self._ended, None
        self.start, self.join, self.is_alive = self._thread.start, self._thread.join, self._thread.is_alive


@pytest.fixture
def in_threads(monkeypatch):
    context = SimpleNamespace(Pipe=Pipe, Process=ThreadAsProcess)
    monkeypatch.setattr(ranks.multiprocessing, "get_context", lambda kind: context)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A site of six cases of which three lack a modality and all but the outermost region; every batch has one such."""
    root = tmp_path_factory.mktemp("data")
    for number in range(6):
        bare = number in (1, 2, 3)
        folder = write_case(root / "site-1", f"C{number}", 20, seed=number, missing=("flair",) if bare else ())
        if bare:
            path = folder / f"C{number}_seg.nii.gz"
            labels = np.asarray(nibabel.load(path).dataobj)
            save(path, (2 * (labels > 0)).astype(np.uint8))
    (root / "site-1" / "splits.json").write_text(json.dumps({"train": [f"C{number}" for number in range(6)]}))
    return root


def updates(data: Path, folder: Path, count: int, **changes) -> list[SiteUpdate]:
    """What the site sends in two rounds of three steps of a federation of its own."""
    (data / "site-1" / "site.json").write_text(json.dumps({"device": "cpu", "ranks": count}))
    sent: list[SiteUpdate] = []

    def listen(name: str, update: SiteUpdate) -> SiteUpdate:
        sent.append(update)
        return update

    changes["learning"] = {"steps_per_round": 3}
    run_federation(config(**changes), data, folder, lambda line: None, listen)
    return sent


def losses(update: SiteUpdate) -> dict[str, float]:
    return {name: value for name, value in update.meta["metrics"].items() if "loss" in name or "pacl" in name}


def require_same(ones: list[SiteUpdate], others: list[SiteUpdate]) -> None:
    assert len(ones) == len(others) == 2
    for one, other in zip(ones, others, strict=True):
        assert losses(one) == pytest.approx(losses(other), abs=LOSS_TOLERANCE)
        assert one.diff.keys() == other.diff.keys()
        assert not one.diff or farthest(one.diff, other.diff) < DIFF_TOLERANCE
        assert one.meta.get("expert_mass") == other.meta.get("expert_mass")


@pytest.mark.parametrize("method", METHODS)
def test_two_ranks_give_what_one_gives(method, data, tmp_path, in_threads):
    alone = updates(data, tmp_path / "one", 1, **METHODS[method])
    shared = updates(data, tmp_path / "two", 2, **METHODS[method])
    require_same(alone, shared)
    ones, others = (SiteState.load(tmp_path / name / "site-1", torch.device("cpu")).weights for name in ("one", "two"))
    assert ones.keys() == others.keys()
    assert not ones or farthest(ones, others) < DIFF_TOLERANCE
    if "contrast" in METHODS[method]:
        assert "pacl_prototype" in alone[1].meta["metrics"]
        for region, sums in alone[0].meta["prototypes"].items():
            assert sums["count"] == shared[0].meta["prototypes"][region]["count"]
            assert np.allclose(sums["sum"], shared[0].meta["prototypes"][region]["sum"], atol=1e-5)


def test_ranks_that_averaged_over_their_own_regions_would_be_noticed(data, tmp_path, in_threads, monkeypatch):
    alone = updates(data, tmp_path / "one", 1)
    monkeypatch.setattr(Group, "total", lambda group, count: 2 * count)
    shared = updates(data, tmp_path / "two", 2)
    assert abs(alone[0].meta["metrics"]["train_loss"] - shared[0].meta["metrics"]["train_loss"]) > 1e3 * LOSS_TOLERANCE
    assert farthest(alone[0].diff, shared[0].diff) > 1e2 * DIFF_TOLERANCE


def open_site(cases: Path, folder: Path, count: int, **changes) -> Site:
    settings = SiteSettings(data=(cases / "site-1",), device="cpu", ranks=count)
    return Site("site-1", config(**changes), settings, folder)


def test_a_killed_process_fails_the_round_and_the_next_round_has_a_new_one(data, tmp_path):
    weights = get_weights(build_model(config()))
    site = open_site(data, tmp_path / "two", 2)
    asked = []

    def kill_before_the_second_step() -> bool:
        asked.append(True)
        if len(asked) == 2:
            (process,) = active_children()
            process.kill()
            process.join()
        return False

    with pytest.raises(TrainingFailed, match=r"one of the 2 processes .* code -9; nothing of this round is sent"):
        site.train(weights, 0, kill_before_the_second_step)
    assert len(asked) == 2
    assert active_children() == []
    shared = [site.train(weights, number) for number in (0, 1)]
    assert len(active_children()) == 1
    require_same([open_site(data, tmp_path / "one", 1).train(weights, number) for number in (0, 1)], shared)
    del site
    gc.collect()
    assert active_children() == []


def test_a_process_that_fails_says_with_what_kind_of_error(data, tmp_path, in_threads, monkeypatch):
    def fail(*_) -> None:
        raise KeyError("a path that must not leave the site")

    monkeypatch.setattr(_Rank, "gradients", fail)
    with pytest.raises(TrainingFailed, match="has failed with KeyError; nothing of this round is sent") as failure:
        open_site(data, tmp_path, 2).train(get_weights(build_model(config())), 0)
    assert "a path" not in str(failure.value)


def test_memory_that_runs_out_in_another_process_is_tried_again_with_smaller_patches(
    data, tmp_path, in_threads, monkeypatch
):
    plain, sizes = _Rank.gradients, []

    def small_ones_only(rank, part, *rest) -> None:
        sizes.append(part.image.shape[-1])
        if sizes[-1] > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        plain(rank, part, *rest)

    monkeypatch.setattr(_Rank, "gradients", small_ones_only)
    update = open_site(data, tmp_path, 2, data={"crop": 32}).train(get_weights(build_model(config())), 0)
    assert sizes == [32, 16, 16]
    assert np.isfinite(update.meta["metrics"]["train_loss"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learning": {"batch": 3}}, "learning.batch is 3. .* a multiple of 2"),
        ({"learning": {"batch": 1}}, "learning.batch is 1. "),
        ({"model": {"norm": "batch"}}, "model.norm 'batch'"),
        ({"model": {"dropout": 0.1}}, "model.dropout"),
        ({"model": {"experts": 2}, "router": {"refine": "figures"}}, "router.refine"),
        ({"contrast": {"view_weight": 0.1}}, "contrast.view_weight"),
        ({"algorithm": {"name": "moon"}}, "algorithm.name 'moon'"),
    ],
)
def test_what_cannot_be_shared_is_refused_when_the_site_starts(changes, words, data, tmp_path):
    with pytest.raises(InputError, match=f"ask for 2 ranks.*{words}"):
        open_site(data, tmp_path, 2, **changes)
    open_site(data, tmp_path, 1, **changes)


def test_a_site_that_never_trains_needs_no_ranks(data, tmp_path):
    settings = SiteSettings(data=(data / "site-1",), device="cpu", ranks=2, role="evaluate")
    assert Site("site-1", config(model={"norm": "batch"}), settings, tmp_path).trainer.ranks is None


def test_ranks_take_the_devices_after_the_sites_own_and_too_few_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert rank_devices(2, config(), torch.device("cuda", 1)) == [torch.device("cuda", 1), torch.device("cuda", 2)]
    assert [device.index for device in rank_devices(2, config(), torch.device("cuda"))] == [0, 1]
    with pytest.raises(InputError, match=r"2 ranks on 'cuda:3' .* 4 CUDA devices .* Set \"ranks\" to 1"):
        rank_devices(2, config(), torch.device("cuda", 3))


def test_too_little_shared_memory_is_said_before_it_ends_the_process(monkeypatch):
    (batch,) = batches(1)
    monkeypatch.setattr(rank_limits, "_SHARED_MEMORY", Path("/"))
    monkeypatch.setattr(rank_limits.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(TrainingFailed, match=r"MB of shared memory .* --shm-size"):
        require_shared_memory(batch)


def test_a_number_of_ranks_below_one_is_refused(data, tmp_path):
    (tmp_path / "site.json").write_text('{"ranks": 0}')
    with pytest.raises(InputError, match="ranks"):
        folder_settings(tmp_path)
