# SPDX-License-Identifier: Apache-2.0
"""Memory that runs out: one more attempt with smaller patches from the very same start, then a sentence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fedpac_me.config import parse_config
from fedpac_me.data.site import folder_settings
from fedpac_me.learning.out_of_memory import is_out_of_memory
from fedpac_me.learning.site import Site
from fedpac_me.learning.site_state import SiteState
from fedpac_me.learning.trainer import Trainer, TrainingFailed
from fedpac_me.model.backbone import build_model, get_weights


def config(crop: int, algorithm: str = "none"):
    return parse_config(
        {
            "method": "m",
            "title": "t",
            "data": {"crop": crop},
            "model": {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1]},
            "learning": {"steps_per_round": 3},
            "algorithm": {"name": algorithm},
        }
    )


WEIGHTS = get_weights(build_model(config(32)))
ERRORS = {
    "GPU": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "CPU": RuntimeError("[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory"),
    "Python": MemoryError(),
}


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Lets steps with patches of more than ``most`` voxels an edge fail after the first ``good`` ones.

    The edges of all steps are returned.
    """

    def limit(most: int, error: Exception, good: int = 1) -> list[int]:
        edges: list[int] = []
        step = Trainer.step

        def limited(self, batch, number):
            edges.append(batch.image.shape[-1])
            if batch.image.shape[-1] > most and len(edges) > good:
                raise error  # not in the first step, which has moved the model already
            return step(self, batch, number)

        monkeypatch.setattr(Trainer, "step", limited)
        return edges

    return limit


def site(folder: Path, state: Path, crop: int, algorithm: str = "none") -> Site:
    return Site("site-1", config(crop, algorithm), folder_settings(folder), state)


def as_bytes(weights: dict[str, np.ndarray]) -> bytes:
    return b"".join(weights[name].tobytes() for name in sorted(weights))


@pytest.mark.parametrize("kind", ERRORS)
def test_one_more_attempt_is_the_round_with_smaller_patches(split_site, tmp_path, memory, kind) -> None:
    expected = as_bytes(site(split_site, tmp_path / "small", 16).train(WEIGHTS, 0).diff)
    edges = memory(16, ERRORS[kind])
    made = site(split_site, tmp_path / "large", 32)
    assert as_bytes(made.train(WEIGHTS, 0).diff) == expected
    assert edges == [32, 32, 16, 16, 16]
    made.train(WEIGHTS, 1)
    assert edges[5:] == [16, 16, 16]


@pytest.mark.parametrize("algorithm", ["none", "ditto", "scaffold", "moon"])
def test_an_attempt_that_failed_leaves_nothing_in_what_the_site_keeps(split_site, tmp_path, memory, algorithm) -> None:
    small = site(split_site, tmp_path / "small", 16, algorithm)
    weights = get_weights(small.trainer.model)
    small.train(weights, 0)
    shutil.copytree(tmp_path / "small", tmp_path / "large")
    expected = small.train(weights, 1).diff
    edges = memory(16, ERRORS["GPU"], good=2)  # Ditto makes two of each batch: both of its optimisers have moved
    diff = site(split_site, tmp_path / "large", 32, algorithm).train(weights, 1).diff
    assert edges[:4] == [32, 32, 32, 16]
    assert as_bytes(diff) == as_bytes(expected)
    one, other = (SiteState.load(tmp_path / folder, torch.device("cpu")) for folder in ("small", "large"))
    assert as_bytes({n: v.numpy() for n, v in one.weights.items()}) == as_bytes(
        {n: v.numpy() for n, v in other.weights.items()}
    )


def test_memory_that_runs_out_again_is_a_sentence_and_leaves_no_state(split_site, tmp_path, memory) -> None:
    edges = memory(8, ERRORS["GPU"])
    with pytest.raises(TrainingFailed, match=r"memory ran out, with smaller patches too .* Lower data\.crop"):
        site(split_site, tmp_path / "state", 32).train(WEIGHTS, 0)
    assert edges == [32, 32, 16]
    assert not list((tmp_path / "state").glob("state-*"))


def test_the_smallest_patches_are_not_tried_twice(split_site, tmp_path, memory) -> None:
    edges = memory(8, ERRORS["Python"])
    with pytest.raises(TrainingFailed, match="memory ran out"):
        site(split_site, tmp_path / "state", 16).train(WEIGHTS, 0)
    assert edges == [16, 16]


def test_another_error_is_no_lack_of_memory(split_site, tmp_path, memory) -> None:
    edges = memory(8, RuntimeError("shape mismatch"))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        site(split_site, tmp_path / "state", 32).train(WEIGHTS, 0)
    assert edges == [32, 32]
    assert not is_out_of_memory(ValueError("x")) and is_out_of_memory(OSError("Cannot allocate memory"))
