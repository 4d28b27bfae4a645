# SPDX-License-Identifier: Apache-2.0
"""Windows in which there is no brain are not computed, and nobody sees the difference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference

from fedpac_me.config import Config, parse_config
from fedpac_me.data.layouts import find_case
from fedpac_me.data.scan import Scan, load_scan
from fedpac_me.learning.certainty import expected_dice
from fedpac_me.learning.inference import predict
from fedpac_me.model.backbone import SegmentationNet, build_model

CPU = torch.device("cpu")
WINDOW = 16


def config(**model) -> Config:
    return parse_config(
        {
            "method": "m",
            "title": "t",
            "data": {"crop": WINDOW},
            "model": {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1], **model},
            "evaluation": {"small_parts_mm3": 0},  # keeps the tumour in one voxel of brain
        }
    )


@pytest.fixture
def cornered(case) -> Scan:
    """A ball of 24³ in the corner of a box of 48 × 40 × 40, whose far corner has one voxel of brain."""
    scan = load_scan(find_case(case), 0)
    edges = scan.image.shape[1:]
    shape = (48, 40, 40)
    image = np.zeros((4, *shape), np.float32)
    image[:, : edges[0], : edges[1], : edges[2]] = scan.image
    image[:, -1, -1, -1] = 1
    return replace(scan, image=image, box=tuple(slice(0, edge) for edge in shape), shape=shape)


def counted(model: SegmentationNet) -> list[int]:
    """Collects how many windows each call of ``model`` sees."""
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    return sizes


@torch.inference_mode()
def plain(model: SegmentationNet, scan: Scan, made: Config) -> np.ndarray:
    """The logits (CDHW) of MONAI's inferer, every window computed."""
    present = torch.from_numpy(scan.present).float()
    image = torch.from_numpy(scan.image)[None]
    answer = sliding_window_inference(
        image, (WINDOW,) * 3, 4, lambda w: model.eval()(w, present.expand(len(w), -1)),
        overlap=made.evaluation.overlap, mode="gaussian",
    )  # fmt: skip
    return answer[0].numpy()


@pytest.mark.parametrize("missing", [False, True], ids=["all modalities", "one missing"])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_in_the_brain_the_answer_is_that_of_all_windows_from_fewer(cornered, norm, missing):
    made = config(norm=norm)
    model = build_model(made)
    if missing:
        # Here a window without brain is not one of zeros to the network: it sees the stand-in.
        cornered = replace(cornered, present=np.array([True, True, True, False]))
        cornered.image[3] = 0
        torch.nn.init.constant_(model.missing, 0.7)
    sizes = counted(model)
    expected = plain(model, cornered, made)
    every = sum(sizes)
    sizes.clear()
    found = predict(model, cornered, made, CPU)
    assert np.allclose(found.logits[:, found.brain], expected[:, found.brain], rtol=0, atol=1e-5)
    # Steps of 12 voxels: 4 · 3 · 3 windows. The ball reaches into 2 · 2 · 2 of them, the lone voxel into one.
    assert (every, sum(sizes)) == (36, 9)
    assert 0 not in sizes


def test_outside_every_computed_window_the_logits_are_zero_and_nothing_breaks(cornered):
    made = config()
    model = build_model(made)
    torch.nn.init.constant_(model.backbone.conv_final[-1].conv.bias, 50.0)  # predicts tumour everywhere
    found = predict(model, cornered, made, CPU)
    assert np.isfinite(found.logits).all()
    assert not found.logits[:, -1, 0, 0].any()
    assert np.array_equal(found.labels > 0, found.brain)
    assert expected_dice(found.logits, found.brain) == pytest.approx(1)


def test_a_scan_that_fills_its_box_leaves_out_nothing(case):
    made, scan = config(), load_scan(find_case(case), 0)
    model = build_model(made)
    sizes = counted(model)
    expected = plain(model, scan, made)
    every = list(sizes)
    sizes.clear()
    assert np.array_equal(predict(model, scan, made, CPU).logits, expected)
    assert sizes == every == [4, 4]
