# SPDX-License-Identifier: Apache-2.0
"""What a site says of one test case: every figure has a value, also where scan or network have nothing to say."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from cases import write_case
from fedpac_me.config import parse_config
from fedpac_me.data.layouts import find_case
from fedpac_me.data.scan import Scan, load_scan
from fedpac_me.data.site import folder_settings
from fedpac_me.evaluation.calibration import CALIBRATION, case_calibration
from fedpac_me.evaluation.case_rows import SCORES, checked_case
from fedpac_me.evaluation.metrics import MISSED_HD95_MM
from fedpac_me.labels import REGIONS, labels_from_regions, regions_from_labels
from fedpac_me.learning.case_scores import case_scores
from fedpac_me.learning.inference import Prediction, predict
from fedpac_me.learning.postprocessing import without_small_parts
from fedpac_me.learning.site import Site
from fedpac_me.model.backbone import build_model, get_weights

TINY = parse_config(
    {
        "method": "m",
        "title": "t",
        "data": {"crop": 16},
        "model": {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1]},
    }
)


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Scan:
    return load_scan(find_case(write_case(tmp_path_factory.mktemp("cases"), "Case_1")), 1)


def answer(scan: Scan, labels: np.ndarray, logit: float = 20.0) -> Prediction:
    """A network that is as good as sure of ``labels`` (DHW, in the scan's box)."""
    logits = np.where(regions_from_labels(labels), logit, -logit).astype(np.float32)
    return Prediction(scan.uncrop(labels), None, logits, np.any(scan.image != 0, axis=0))


def one_voxel(scan: Scan, label: int) -> np.ndarray:
    labels = np.zeros_like(scan.labels)
    labels[tuple(edge // 2 for edge in labels.shape)] = label
    return labels


def test_a_prediction_keeps_what_its_labels_were_cut_from(scan):
    found = predict(build_model(TINY), scan, TINY, torch.device("cpu"))
    assert found.logits.shape == (3, *scan.labels.shape) and found.logits.dtype == np.float32
    assert found.brain.shape == scan.labels.shape and 0 < found.brain.mean() < 1
    labels = without_small_parts(labels_from_regions((found.logits > 0) & found.brain), scan.spacing_mm, 50)
    assert np.array_equal(scan.uncrop(labels), found.labels)
    scores = case_scores(found, scan)
    assert tuple(scores) == SCORES
    expected = case_calibration(found.logits, scan.labels, found.brain)
    assert {name: scores[name] for name in CALIBRATION} == expected
    assert min(expected.values()) > 0
    assert {type(value) for value in scores.values()} == {float, int}


def test_a_perfect_and_sure_answer(scan):
    scores = case_scores(answer(scan, scan.labels), scan)
    for region in REGIONS:
        assert [scores[f"{name}_{region}"] for name in ("dice", "lesion_dice", "sensitivity")] == [1, 1, 1]
        assert scores[f"ece_{region}"] == pytest.approx(0, abs=1e-6) and scores[f"null_ece_{region}"] > 0


def test_regions_that_are_nowhere(scan):
    nothing = np.zeros_like(scan.labels)
    scores = case_scores(answer(scan, nothing), replace(scan, labels=nothing))
    for region in REGIONS:
        assert [scores[f"{name}_{region}"] for name in ("dice", "hd95", "lesion_dice", "lesion_hd95")] == [1, 0, 1, 0]
        assert [scores[f"{name}_{region}"] for name in ("sensitivity", "volume_error", "null_ece")] == [1, 0, 0]
        assert scores[f"ece_{region}"] == pytest.approx(0, abs=1e-6)


def test_a_lesion_of_one_voxel_missed_and_a_false_one(scan):
    """Missed it is below what lesions are counted from; false it costs a lesion whatever its size."""
    nothing, speck = np.zeros_like(scan.labels), one_voxel(scan, 4)
    missed = case_scores(answer(scan, nothing), replace(scan, labels=speck))
    false = case_scores(answer(scan, speck), replace(scan, labels=nothing))
    for scores in (missed, false):
        assert (scores["dice_ET"], scores["hd95_ET"], scores["sensitivity_ET"]) == (0, MISSED_HD95_MM, 0)
        voxels = np.any(scan.image != 0, axis=0).sum()
        assert scores["ece_ET"] == pytest.approx(1 / voxels, rel=1e-3)
    assert (missed["lesion_dice_ET"], missed["lesion_hd95_ET"], missed["lesion_fn_ET"]) == (1, 0, 0)
    assert (false["lesion_dice_ET"], false["lesion_hd95_ET"], false["lesion_fp_ET"]) == (0, 374, 1)


@pytest.mark.parametrize("edges", [(1.0, 1.0, 1.0), (0.4, 3.0, 7.0), (5.0, 5.0, 5.0)])
def test_any_spacing_has_its_lesions(scan, edges):
    stretched = replace(scan, affine=np.diag([*edges, 1.0]))
    scores = case_scores(answer(scan, scan.labels), stretched)
    assert (scores["lesion_tp_WT"], scores["lesion_fp_WT"], scores["lesion_fn_WT"]) == (1, 0, 0)
    missed = case_scores(answer(scan, np.zeros_like(scan.labels)), stretched)
    assert missed["lesion_fn_WT"] == 1
    assert missed["volume_error_WT"] == pytest.approx(-(8**3) * np.prod(edges) / 1000)


def test_a_network_that_answers_nan_has_unknown_calibration_and_found_nothing(split_site, tmp_path):
    weights = get_weights(build_model(TINY))
    (name,) = (name for name in weights if weights[name].shape == (len(REGIONS),))
    weights[name] = np.full(len(REGIONS), np.nan, np.float32)
    result = Site("site-1", TINY, folder_settings(split_site), tmp_path).evaluate(weights, "final")
    (row,) = result["cases"]
    assert [row[f"ece_{region}"] for region in REGIONS] == [None, None, None]
    assert (row["dice_WT"], row["predicted_voxels_WT"]) == (0, 0) and row["null_ece_WT"] > 0
    assert checked_case(json.loads(json.dumps(row, allow_nan=False)), "case 1") == row
    assert "Case_" not in json.dumps(result)
