# SPDX-License-Identifier: Apache-2.0
"""Calibration of probabilities whose error can be computed by hand."""

import numpy as np
import pytest

from fedpac_me.errors import InputError
from fedpac_me.evaluation.calibration import CALIBRATION, case_calibration, expected_calibration_error
from fedpac_me.labels import REGIONS

BRAIN = np.ones((10, 10, 10), bool)


def channels(volume: np.ndarray) -> np.ndarray:
    return np.stack([volume] * len(REGIONS))


def halves(share: float) -> np.ndarray:
    """Truth of which the first ``share`` of the voxels are the region."""
    return (np.arange(1000) < 1000 * share).reshape(10, 10, 10)


def test_what_comes_true_as_often_as_said_has_no_error():
    assert expected_calibration_error(channels(np.full((10, 10, 10), 0.3)), channels(halves(0.3)), BRAIN) == (
        pytest.approx(dict.fromkeys(REGIONS, 0.0), abs=1e-6)
    )


def test_the_sum_over_a_whole_brain_is_no_less_exact():
    said = np.full((100, 100, 150), 0.9, np.float32)
    truth = (np.arange(said.size) < 0.9 * said.size).reshape(said.shape)
    found = expected_calibration_error(channels(said), channels(truth), np.ones(said.shape, bool))
    assert found == pytest.approx(dict.fromkeys(REGIONS, 0.0), abs=1e-6)


def test_errors_of_bins_are_weighted_by_their_voxels():
    """750 voxels at 0.9 of which 500 come true, 250 at 0.2 of which none does."""
    said = np.where(np.arange(1000) < 750, 0.9, 0.2).reshape(10, 10, 10)
    found = expected_calibration_error(channels(said), channels(halves(0.5)), BRAIN)
    assert found == pytest.approx(dict.fromkeys(REGIONS, 0.75 * (0.9 - 2 / 3) + 0.25 * 0.2), abs=1e-6)


def test_each_region_has_its_own_error():
    said = np.stack([np.full((10, 10, 10), value) for value in (0.0, 0.5, 1.0)])
    found = expected_calibration_error(said, channels(halves(0.5)), BRAIN)
    assert found == pytest.approx({"TC": 0.5, "WT": 0.0, "ET": 0.5}, abs=1e-6)


def test_only_the_brain_counts():
    brain = halves(0.5)
    said = np.where(brain, 0.6, 1.0)  # outside the brain sure and wrong
    found = expected_calibration_error(channels(said), channels(halves(0.3)), brain)
    assert found == pytest.approx(dict.fromkeys(REGIONS, 0.0), abs=1e-6)


def test_the_bins_are_the_callers():
    """In one bin over- and underconfidence cancel."""
    said, truth = np.where(halves(0.5), 0.9, 0.1), halves(0.5)
    assert expected_calibration_error(channels(said), channels(truth), BRAIN, 1)["WT"] == pytest.approx(0, abs=1e-6)
    assert expected_calibration_error(channels(said), channels(truth), BRAIN, 2)["WT"] == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize(
    ("said", "brain", "bins", "sentence"),
    [
        (channels(np.zeros((10, 10, 9))), BRAIN, 15, "shape"),
        (np.zeros((2, 10, 10, 10)), BRAIN, 15, "3 channels"),
        (channels(np.zeros((10, 10, 10))), ~BRAIN, 15, "0 brain voxels"),
        (channels(np.zeros((10, 10, 10))), BRAIN, 0, "0 bins"),
        (channels(np.full((10, 10, 10), 1.5)), BRAIN, 15, "logits"),
        (channels(np.full((10, 10, 10), -0.1)), BRAIN, 15, "logits"),
    ],
)
def test_what_cannot_be_binned_is_refused(said, brain, bins, sentence):
    with pytest.raises(InputError, match=sentence):
        expected_calibration_error(said, channels(halves(0.5)), brain, bins)


def test_a_region_with_a_probability_that_is_none_has_no_error_and_the_others_keep_theirs():
    said = channels(np.full((10, 10, 10), 0.3))
    said[1, 4, 4, 4] = np.nan
    found = expected_calibration_error(said, channels(halves(0.3)), BRAIN)
    assert found == {"TC": pytest.approx(0.0, abs=1e-6), "WT": None, "ET": pytest.approx(0.0, abs=1e-6)}
    outside = BRAIN.copy()
    outside[4, 4, 4] = False
    assert None not in expected_calibration_error(said, channels(halves(0.3)), outside).values()


def test_a_case_is_measured_by_its_logits_beside_being_sure_of_nothing():
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[:2] = 2  # 200 of 1000 voxels are whole tumour; 100 of them core, none enhancing
    labels[0] = 1
    found = case_calibration(channels(np.zeros((10, 10, 10), np.float32)), labels, BRAIN)
    assert tuple(found) == CALIBRATION
    assert [found[f"ece_{region}"] for region in REGIONS] == pytest.approx([0.4, 0.3, 0.5])
    assert [found[f"null_ece_{region}"] for region in REGIONS] == pytest.approx([0.1, 0.2, 0.0])
    assert {type(value) for value in found.values()} == {float}


def test_a_case_predicted_surely_and_rightly_has_no_error_whether_a_region_is_there_or_not():
    for labels in (np.zeros((10, 10, 10), np.uint8), np.where(halves(0.001), 4, 0).astype(np.uint8)):
        logits = np.where(channels(labels == 4), np.inf, -np.inf)
        found = case_calibration(logits, labels, BRAIN)
        assert [found[f"ece_{region}"] for region in REGIONS] == [0.0, 0.0, 0.0]
        assert found["null_ece_ET"] == pytest.approx((labels == 4).mean())


def test_logits_that_are_none_are_unknown_and_never_an_exception():
    found = case_calibration(channels(np.full((10, 10, 10), np.nan)), np.zeros((10, 10, 10), np.uint8), BRAIN)
    assert [found[f"ece_{region}"] for region in REGIONS] == [None, None, None]
    assert found["null_ece_WT"] == 0.0
