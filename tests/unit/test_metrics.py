# SPDX-License-Identifier: Apache-2.0
"""Scores of tiny volumes whose answers can be counted by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import compute_hausdorff_distance

from fedpac_me.errors import InputError
from fedpac_me.evaluation.metrics import METRICS, MISSED_HD95_MM, case_metrics, region_dice
from fedpac_me.labels import LABELS, REGIONS, regions_from_labels


def volume(**voxels: tuple[slice, slice, slice]) -> np.ndarray:
    """A 10 x 12 x 8 volume with boxes of labels, given as ``l4=np.s_[...]``."""
    labels = np.zeros((10, 12, 8), np.uint8)
    for label, box in voxels.items():
        labels[box] = int(label[1:])
    return labels


def test_penalty_is_the_diagonal_of_a_brats_image():
    assert pytest.approx(math.sqrt(240**2 + 240**2 + 155**2), abs=1e-5) == MISSED_HD95_MM


def test_figures_counted_by_hand():
    truth = volume(l2=np.s_[2:6, 2:6, 2:6], l4=np.s_[2:4, 2:4, 2:4])  # 64 voxels, 8 of them enhancing
    prediction = volume(l2=np.s_[2:6, 2:6, 3:6], l1=np.s_[2:4, 2:4, 3:4])  # 48 voxels, 4 of them core, none enhancing
    scores = case_metrics(prediction, truth)
    assert tuple(scores) == METRICS
    assert all(type(value) in (int, float) for value in scores.values())
    assert (scores["truth_voxels_WT"], scores["predicted_voxels_WT"]) == (64, 48)
    assert (scores["truth_voxels_TC"], scores["predicted_voxels_TC"]) == (8, 4)
    assert (scores["truth_voxels_ET"], scores["predicted_voxels_ET"]) == (8, 0)
    assert scores["dice_WT"] == 2 * 48 / (64 + 48)
    assert scores["dice_TC"] == 2 * 4 / (8 + 4)
    assert (scores["dice_ET"], scores["hd95_ET"]) == (0.0, MISSED_HD95_MM)
    assert region_dice(prediction, truth) == {region: scores[f"dice_{region}"] for region in REGIONS}
    assert scores["hd95_WT"] == 1.0  # the missing layer is one voxel deep
    wrong = 16 + 4  # oedema and core missed in layer 2; core called necrotic in layer 3
    assert scores["voxel_accuracy"] == (960 - wrong) / 960
    assert scores["null_voxel_accuracy"] == (960 - 64) / 960
    assert [scores[f"null_dice_{region}"] for region in REGIONS] == [0.0, 0.0, 0.0]
    assert [scores[f"sensitivity_{region}"] for region in REGIONS] == [4 / 8, 48 / 64, 0.0]
    assert [scores[f"specificity_{region}"] for region in REGIONS] == [1.0, 1.0, 1.0]
    assert [scores[f"volume_error_{region}"] for region in REGIONS] == [-0.004, -0.016, -0.008]


@pytest.mark.parametrize(
    ("predicted", "true", "dice", "hd95"),
    [(False, False, 1, 0), (True, False, 0, 373.12866), (False, True, 0, 373.12866)],
)
def test_empty_regions_follow_brats_2020(predicted, true, dice, hd95):
    box = np.s_[1:3, 1:3, 1:3]
    scores = case_metrics(volume(l4=box) if predicted else volume(), volume(l4=box) if true else volume())
    for region in REGIONS:
        assert (scores[f"dice_{region}"], scores[f"hd95_{region}"]) == (dice, hd95)
        assert scores[f"null_dice_{region}"] == (0 if true else 1)


def test_sensitivity_and_specificity_where_one_side_is_empty():
    """960 voxels, of which the box has 8; the convention of the BraTS 2023 script."""
    box, everything = volume(l4=np.s_[1:3, 1:3, 1:3]), volume(l4=np.s_[:, :, :])
    expected = {
        (True, True): (1, 1),
        (True, False): (0, 952 / 960),
        (False, True): (0, 1),
        (False, False): (1, 1),
    }
    for (predicted, true), figures in expected.items():
        scores = case_metrics(box if predicted else volume(), box if true else volume())
        assert (scores["sensitivity_ET"], scores["specificity_ET"]) == figures
    full = case_metrics(everything, everything)
    assert (full["sensitivity_ET"], full["specificity_ET"]) == (1, 1)


def test_volume_error_is_in_millilitres():
    truth, prediction = volume(l2=np.s_[0:1, 0:1, 0:8]), volume(l2=np.s_[0:2, 0:1, 0:8])
    assert case_metrics(prediction, truth, (1, 2, 2.5))["volume_error_WT"] == pytest.approx(8 * 5 / 1000)
    assert case_metrics(truth, prediction, (1, 2, 2.5))["volume_error_WT"] == pytest.approx(-8 * 5 / 1000)


def test_distance_is_in_millimetres_along_each_axis():
    truth, prediction = volume(l2=np.s_[2:3, 2:3, 2:3]), volume(l2=np.s_[2:3, 2:3, 5:6])
    assert case_metrics(prediction, truth)["hd95_WT"] == 3.0
    assert case_metrics(prediction, truth, (1, 1, 2.5))["hd95_WT"] == 7.5
    assert case_metrics(prediction, truth, (4, 4, 1))["hd95_WT"] == 3.0


@pytest.mark.filterwarnings("ignore::FutureWarning")
@settings(max_examples=15)
@given(st.data())
def test_cropping_changes_no_distance(data):
    """Also for tumours that touch the image's edge, where a border voxel is decided by what lies outside."""
    shape = (7, 6, 8)
    low = data.draw(st.tuples(*[st.integers(0, size - 2) for size in shape]))
    box = tuple(slice(start, data.draw(st.integers(start + 1, size))) for start, size in zip(low, shape, strict=True))
    inner = tuple(part.stop - part.start for part in box)
    prediction, truth = (np.zeros(shape, np.uint8) for _ in range(2))
    prediction[box] = data.draw(arrays(np.uint8, inner, elements=st.sampled_from(LABELS)))
    truth[box] = data.draw(arrays(np.uint8, inner, elements=st.sampled_from(LABELS)))
    scores = case_metrics(prediction, truth, (1, 2, 1.5))
    for region, predicted, true in zip(
        REGIONS, regions_from_labels(prediction), regions_from_labels(truth), strict=True
    ):
        if predicted.any() and true.any():
            whole = [torch.from_numpy(np.pad(mask, 3)[None, None]) for mask in (predicted, true)]
            expected = compute_hausdorff_distance(*whole, True, percentile=95, spacing=[1.0, 2.0, 1.5])
            assert scores[f"hd95_{region}"] == expected.item()
        assert scores[f"dice_{region}"] == case_metrics(truth, prediction)[f"dice_{region}"]


def test_whole_numbers_in_any_type_are_labels():
    truth = volume(l4=np.s_[1:3, 1:3, 1:3])
    assert case_metrics(truth.astype(np.float64), truth.astype(np.int16))["dice_ET"] == 1.0


@pytest.mark.parametrize(
    ("prediction", "truth", "sentence"),
    [
        (volume(), volume(l3=np.s_[0:1, 0:1, 0:1]), "truth holds 3"),
        (volume() + 0.5, volume(), r"prediction holds 0\.5"),
        (volume() + np.nan, volume(), "prediction holds nan"),
        (volume()[:5], volume(), r"shape \(5, 12, 8\)"),
        (volume()[None], volume(), "3-D"),
        (volume()[:0], volume()[:0], "3-D"),
    ],
)
def test_what_is_no_label_volume_is_refused(prediction, truth, sentence):
    with pytest.raises(InputError, match=sentence):
        case_metrics(prediction, truth)
