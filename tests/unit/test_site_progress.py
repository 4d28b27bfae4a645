# SPDX-License-Identifier: Apache-2.0
"""What a site says of its rounds: figures by name, and sentences that an engineer reads."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fedpac_me.config import Config
from fedpac_me.data.splits import Split
from fedpac_me.learning.site import SiteUpdate
from fedpac_me.learning.site_progress import evaluation_sentence, ready_sentence, round_figures, round_sentence

RECEIVED = {"a": np.zeros((100, 1000), np.float32)}
DICE = {"dice_TC": 0.5, "dice_WT": 0.75, "dice_ET": 0.25, "dice_mean": 0.5}


@pytest.fixture
def site() -> SimpleNamespace:
    return SimpleNamespace(
        config=Config(method="m", title="t"),
        role="train",
        split=Split(train=["Anna", "Berta"], validation=["Carla"], test=[]),
        device=torch.device("cpu"),
    )


def update(diff: dict, **meta) -> SiteUpdate:
    return SiteUpdate(diff, {"seconds": 3.14, "metrics": {}, **meta})


def test_figures_have_loss_dice_routing_seconds_and_bytes():
    sent = update({"a": RECEIVED["a"][:50]}, metrics={**DICE, "train_loss": 0.7}, expert_mass=[1.0, 0.0])
    assert round_figures(sent, RECEIVED) == {
        **DICE, "train_loss": 0.7, "expert_0_scans": 1.0, "expert_1_scans": 0.0, "seconds": 3.14,
        "bytes_down": 400_000, "bytes_up": 200_000,
    }  # fmt: skip


def test_a_round_of_training_in_words(site):
    sent = update({"a": RECEIVED["a"][:50]}, metrics={**DICE, "train_loss": 0.7})
    assert round_sentence(site, 2, sent, RECEIVED) == (
        "Round 3 of 28: received 0.40 MB; validated, mean Dice 0.500 (TC 0.500, WT 0.750, ET 0.250); trained 20 steps, "
        "loss 0.700; 3.1 s; sends 0.20 MB."
    )


def test_a_round_without_validation_or_training_says_neither(site):
    assert round_sentence(site, 0, update({}), RECEIVED) == "Round 1 of 28: received 0.40 MB; 3.1 s; sends no weights."


def test_a_site_says_how_many_cases_it_brings_and_not_which(site):
    assert ready_sentence(site) == "Ready: role train; cases: 2 training, 1 validation, 0 test; device cpu."


def test_an_evaluation_in_words():
    cases = [{"dice_TC": 0.5, "dice_WT": 1.0, "dice_ET": 0.0, "seconds": 1.5}] * 2
    found = evaluation_sentence("final", {"role": "train", "cases": cases})
    assert found == "Model final: mean Dice 0.500 on the test cases, 3.0 s."
    assert evaluation_sentence("final", {"role": "pooled", "cases": []}) == "Model final: no test cases here."
