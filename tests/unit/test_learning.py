# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from fedpac_me.config import parse_config
from fedpac_me.data.crops import Batch, TrainingCrops
from fedpac_me.data.layouts import find_case, find_cases
from fedpac_me.data.scan import load_scan
from fedpac_me.data.scan_cache import ScanCache
from fedpac_me.learning.inference import predict
from fedpac_me.learning.losses import RegionLoss
from fedpac_me.learning.trainer import Trainer, TrainingFailed, TrainingStopped, learning_rate
from fedpac_me.model.backbone import build_model, get_weights

CPU = torch.device("cpu")
CONFIG = parse_config(
    {
        "method": "m",
        "title": "t",
        "data": {"crop": 16},
        "model": {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1]},
        "learning": {"learning_rate": 0.01, "warmup_steps": 2},
        "federation": {"rounds": 4},
    }
)

FAST = CONFIG.model_copy(update={"learning": CONFIG.learning.model_copy(update={"learning_rate": 0.05})})


def batches(count: int, poison: int | None = None) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for number in range(count):
        image = torch.randn(2, 4, 16, 16, 16, generator=generator)
        regions = (image[:, :3] > 1).float()
        made.append(Batch(image * (math.nan if number == poison else 1), torch.ones(2, 4), regions))
    return made


def trainer() -> Trainer:
    return Trainer(build_model(CONFIG), CONFIG, CPU)


def test_a_correct_empty_region_costs_nothing():
    regions = torch.zeros(1, 3, 8, 8, 8)
    regions[:, 1, 2:5] = 1
    confident = torch.where(regions > 0, 30.0, -30.0)
    assert RegionLoss()(confident, regions) < 1e-4


def test_inventing_an_absent_region_costs():
    regions = torch.zeros(1, 3, 8, 8, 8)
    regions[:, 1, 2:5] = 1
    confident = torch.where(regions > 0, 30.0, -30.0)
    invented = confident.clone()
    invented[:, 2, :4] = 30.0
    assert RegionLoss()(invented, regions) > RegionLoss()(confident, regions) + 1


def test_the_dice_term_is_dice_over_the_regions_that_exist():
    regions = torch.zeros(1, 3, 1, 1, 4)
    regions[0, 1, 0, 0, :2] = 1
    logits = torch.full_like(regions, -30.0)
    logits[0, 1, 0, 0, 1:3] = 30.0  # predicts voxels 1, 2 where 0, 1 are true: Dice 1/2
    cross_entropy = 2 * 30 / 12
    assert RegionLoss()(logits, regions).item() == pytest.approx(0.5 + cross_entropy, abs=1e-3)


def test_no_region_at_all_is_not_a_division_by_zero():
    assert torch.isfinite(RegionLoss()(torch.zeros(1, 3, 4, 4, 4), torch.zeros(1, 3, 4, 4, 4)))


@pytest.mark.slow
def test_training_lowers_the_loss():
    one = Trainer(build_model(FAST), FAST, CPU)
    losses = [one.train_round(batches(2), 2).loss for _ in range(12)]
    assert losses[-1] < 0.7 * losses[0]


def test_the_same_batches_give_the_same_bytes():
    results = []
    for _ in range(2):
        one = trainer()
        one.train_round(batches(3), 0)
        results.append(b"".join(value.tobytes() for value in get_weights(one.model).values()))
    assert results[0] == results[1]


def test_nan_gives_up_the_round_before_it_reaches_model_or_optimiser():
    one, clean = trainer(), trainer()
    with pytest.raises(TrainingFailed, match="the loss became nan"):
        one.train_round(batches(3, poison=1), 0)
    clean.train_round(batches(1), 0)
    weights, expected = get_weights(one.model), get_weights(clean.model)
    assert all(np.array_equal(weights[name], expected[name]) for name in expected)
    moments = [value for state in one.optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    assert moments and all(torch.isfinite(value).all() for value in moments)


def test_stop_is_asked_before_every_step():
    asked = []

    def stop_at_the_third() -> bool:
        asked.append(1)
        return len(asked) == 3

    with pytest.raises(TrainingStopped):
        trainer().train_round(batches(5), 0, stop_at_the_third)
    assert len(asked) == 3


def test_the_learning_rate_warms_up_and_falls_over_the_whole_federation():
    rates = [learning_rate(CONFIG.learning, step, 40) for step in range(40)]
    assert rates[0] == pytest.approx(0.005, rel=0.01)  # half of .01: one of two warm-up steps
    assert rates[1] == pytest.approx(0.01, rel=0.01)
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert learning_rate(CONFIG.learning, 40, 40) == pytest.approx(0.01 * CONFIG.learning.final_learning_rate)


def test_a_prediction_has_the_full_grid_and_stays_inside_the_brain(case):
    scan = load_scan(find_case(case), 0)
    model = build_model(CONFIG)
    torch.nn.init.constant_(model.backbone.conv_final[-1].conv.bias, 50.0)  # predicts tumour everywhere
    labels = predict(model, scan, CONFIG, CPU).labels
    brain = scan.uncrop(np.any(scan.image != 0, axis=0))
    assert labels.shape == scan.shape == (24, 24, 24)
    assert np.array_equal(labels > 0, brain)


@pytest.mark.slow
def test_a_network_learns_the_tumour_of_one_site(site_folder, tmp_path):
    cases = find_cases([site_folder(cases=2, edge=24)])
    crops = TrainingCrops(cases, ScanCache(tmp_path / "scans", CONFIG.data), 0, "s")
    one = Trainer(build_model(FAST), FAST, CPU)
    one.train_round(crops.batches(0, 80, 2), 0)
    scan = load_scan(cases[0], 0)
    predicted, truth = predict(one.model, scan, CONFIG, CPU).labels > 0, scan.uncrop(scan.labels) > 0
    assert 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum()) > 0.8
