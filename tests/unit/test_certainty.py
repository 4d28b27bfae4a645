# SPDX-License-Identifier: Apache-2.0
"""An expert that is sure of its answer is heard where nobody knows the scan."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedpac_me.config import parse_config
from fedpac_me.data.layouts import find_case
from fedpac_me.data.scan import load_scan
from fedpac_me.learning import inference
from fedpac_me.learning.certainty import expected_dice
from fedpac_me.learning.inference import predict
from fedpac_me.model.backbone import build_model
from fedpac_me.model.router import Routing

BRAIN = np.ones((10, 10, 10), bool)
CONFIG = parse_config(
    {
        "method": "m",
        "title": "t",
        "data": {"crop": 16},
        "model": {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1], "experts": 3},
        "router": {"far": "surest"},
    }
)


def logits(inside: float, outside: float) -> np.ndarray:
    """One region (CDHW): a cube of 512 of 1000 voxels with a logit of its own."""
    made = np.full((1, 10, 10, 10), outside)
    made[:, 1:9, 1:9, 1:9] = inside
    return made


def test_a_sure_answer_expects_to_be_right():
    assert expected_dice(logits(20, -20), BRAIN) == pytest.approx(1)


def test_the_formula():
    # Half of the voxels at p = 3/4, the others at 1/4: (2·512·¾ + 1) / (512·¾ + 488·¼ + 512 + 1).
    odds = float(np.log(3))
    assert expected_dice(logits(odds, -odds), BRAIN) == pytest.approx(769 / 1019)


def test_the_surer_the_higher():
    found = [expected_dice(logits(size, -size), BRAIN) for size in (0.1, 1, 2, 4)]
    assert found == sorted(found) and found[0] < 0.6


def test_an_empty_answer_is_sure_only_where_nothing_is_likely():
    assert expected_dice(logits(-20, -20), BRAIN) == pytest.approx(1, abs=1e-5)
    assert expected_dice(logits(-0.1, -20), BRAIN) < 0.01


def test_voxels_outside_of_the_brain_do_not_count():
    brain = np.zeros_like(BRAIN)
    brain[1:9, 1:9, 1:9] = True
    assert expected_dice(logits(20, 0.1), brain) == pytest.approx(1)
    assert expected_dice(logits(20, 0.1), BRAIN) < 0.9


def test_regions_count_alike():
    both = np.concatenate([logits(20, -20), logits(0.1, -20)])
    single = [expected_dice(region[None], BRAIN) for region in both]
    assert expected_dice(both, BRAIN) == pytest.approx(np.mean(single))


@pytest.fixture
def heard(monkeypatch):
    """The sureness of each expert may be set; returns who was asked to answer."""
    asked = []

    def answer(model, scan, config, device, route):
        asked.append(route.expert)
        return np.full((3, *scan.image.shape[1:]), {0: 0.5, 1: 6.0, 2: 3.0}[route.expert], np.float32)

    monkeypatch.setattr(inference, "predict_logits", answer)
    return asked


def test_of_the_candidates_the_surest_is_heard(case, heard):
    route = Routing(0, 2, distance=1.5, candidates=(0, 2, 1))
    found = predict(build_model(CONFIG), load_scan(find_case(case), 0), CONFIG, torch.device("cpu"), route)
    assert heard == [0, 2, 1]
    assert (found.route.expert, found.route.second, found.route.distance) == (1, 2, 1.5)
    assert found.route.far and not found.route.candidates and found.labels.any()


def test_a_settled_scan_asks_nobody_else(case, heard):
    predict(build_model(CONFIG), load_scan(find_case(case), 0), CONFIG, torch.device("cpu"), Routing(2, 1, 0.5))
    assert heard == [2]
