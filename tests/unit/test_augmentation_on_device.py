# SPDX-License-Identifier: Apache-2.0
"""Perspectives drawn with a crop for a GPU and done to the batch there: on a CPU, the same bytes as done at once."""

from __future__ import annotations

import pytest
import torch

from fedpac_me.config import Config, PerspectivesConfig, load_config
from fedpac_me.data.crops import Batch, TrainingCrops
from fedpac_me.data.layouts import find_cases
from fedpac_me.data.scan_cache import ScanCache
from fedpac_me.learning.augmentation import crop_augmentation
from gpu_check.setting import CONFIG

CPU, GPU = torch.device("cpu"), torch.device("cuda")  # a name: nothing here computes on a GPU
NAMES = [name for name in PerspectivesConfig.model_fields if name != "fgsm"]
KINDS = [*((name, 0.0) for name in NAMES), ("every", 0.0), ("every", 0.5)]
TENSORS = ("image", "present", "regions", "second", "second_present")


def configured(name: str, view_weight: float, probability: float = 0.5) -> Config:
    chosen = {other: {"probability": probability * (name in (other, "every")), "strength": 0.6} for other in NAMES}
    changes = {"data": {"crop": 24}, "perspectives": chosen, "contrast": {"view_weight": view_weight}}
    return load_config(CONFIG, changes)


@pytest.fixture
def crops_for(site_folder):
    folder = site_folder(cases=2, edge=44)

    def made(config: Config, device: torch.device) -> TrainingCrops:
        scans = ScanCache(folder.parent / "scans", config.data)
        return TrainingCrops(find_cases([folder]), scans, 3, "s", crop_augmentation(config), device)

    return made


def held(batch: Batch) -> dict[str, bytes]:
    tensors = {name: getattr(batch, name) for name in TENSORS}
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in tensors.items() if tensor is not None}


@pytest.mark.parametrize(("name", "view_weight"), KINDS)
def test_behind_the_batch_it_gives_the_same_bytes(crops_for, name, view_weight):
    config = configured(name, view_weight)
    at_once, later = (crops_for(config, device) for device in (CPU, GPU))

    def compare(round_number: int) -> tuple[int, list[dict[str, bytes]]]:
        drawn, seen = 0, []
        batches = at_once.batches(round_number, 5, 2), later.batches(round_number, 5, 2)
        for one, other in zip(*batches, strict=True):
            assert not any(one.changes) and other.second is None
            drawn += sum(map(len, other.changes))
            seen.append(held(one))
            done = other.to(CPU)
            assert held(done) == seen[-1] and not any(done.changes)
        return drawn, seen

    (some, first), (more, second) = compare(0), compare(1)
    assert some and more and first != second
    assert at_once.shrink() and later.shrink()
    drawn, smaller = compare(1)
    assert drawn and len(smaller[0]["image"]) < len(second[0]["image"])


def test_until_then_crops_are_only_cut_and_flipped(crops_for):
    plain, later = configured("nothing", 0.0), configured("every", 0.0, probability=1.0)
    # The same places, since a transform's seed depends on those before it alone.
    pairs = zip(crops_for(plain, CPU).batches(0, 2, 2), crops_for(later, GPU).batches(0, 2, 2), strict=True)
    for bare, waiting in pairs:
        assert held(bare) == held(waiting)
        assert [len(changes) for changes in waiting.changes] == [len(NAMES)] * 2
        assert held(waiting.to(CPU)) != held(bare) and held(bare) == held(waiting)


def test_what_was_drawn_is_done_twice_alike_and_draws_nothing_more(crops_for):
    config = configured("every", 0.5, probability=1.0)
    crops = crops_for(config, GPU)
    (batch,) = crops.batches(0, 1, 2)
    states = [one.R.get_state()[1].tobytes() for one in crops._draw.transforms if hasattr(one, "R")]
    assert held(batch.to(CPU)) == held(batch.to(CPU))
    assert states == [one.R.get_state()[1].tobytes() for one in crops._draw.transforms if hasattr(one, "R")]


def test_nothing_drawn_is_nothing_done(crops_for, monkeypatch):
    (batch,) = crops_for(configured("nothing", 0.0), GPU).batches(0, 1, 2)
    monkeypatch.setattr(Batch, "_changed", lambda _: pytest.fail("a batch was put together again for nothing"))
    assert held(batch.to(CPU)) == held(batch)
