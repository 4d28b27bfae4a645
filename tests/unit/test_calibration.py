# SPDX-License-Identifier: Apache-2.0
"""Expected calibration error, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fedpac_me.errors import InputError
from fedpac_me.evaluation.calibration import expected_calibration_error

BRAIN = np.ones((10, 10, 10), bool)


def regions(values: np.ndarray) -> np.ndarray:
    return np.stack([values] * 3)


def test_what_comes_true_as_often_as_said_is_calibrated():
    truth = np.zeros(BRAIN.shape, bool)
    truth.ravel()[:800] = True
    error = expected_calibration_error(regions(np.full(BRAIN.shape, 0.8)), regions(truth), BRAIN)
    assert error == pytest.approx({"TC": 0, "WT": 0, "ET": 0}, abs=1e-3)


def test_too_sure_by_three_tenths():
    truth = np.zeros(BRAIN.shape, bool)
    truth.ravel()[:500] = True
    error = expected_calibration_error(regions(np.full(BRAIN.shape, 0.8)), regions(truth), BRAIN)
    assert error["WT"] == pytest.approx(0.3, abs=1e-3)


def test_bins_are_weighted_by_their_voxels():
    probabilities, truth = np.full(BRAIN.shape, 0.9), np.ones(BRAIN.shape, bool)
    probabilities[:2], truth[:2] = 0.1, False
    truth[2:4] = False
    # 200 voxels off by .1; 800 of which 600 come true: off by .9 - .75.
    error = expected_calibration_error(regions(probabilities), regions(truth), BRAIN)
    assert error["TC"] == pytest.approx(0.2 * 0.1 + 0.8 * 0.15, abs=1e-3)


def test_outside_of_the_brain_nothing_counts():
    brain = BRAIN.copy()
    brain[5:] = False
    probabilities, truth = np.full(BRAIN.shape, 1.0), np.ones(BRAIN.shape, bool)
    truth[5:] = False
    assert expected_calibration_error(regions(probabilities), regions(truth), brain)["ET"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("wrong", [np.full((3, 10, 10, 10), 2.0), np.zeros((2, 10, 10, 10))])
def test_logits_and_other_shapes_are_refused(wrong):
    with pytest.raises(InputError):
        expected_calibration_error(wrong, np.zeros((3, 10, 10, 10)), BRAIN)
