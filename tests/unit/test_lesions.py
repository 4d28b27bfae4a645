# SPDX-License-Identifier: Apache-2.0
"""Lesion-wise scores of volumes whose lesions can be counted by hand, and of random ones scored the long way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from fedpac_me.errors import InputError
from fedpac_me.evaluation.lesions import BRATS_GLI, LesionRules, LesionScores, lesion_scores
from fedpac_me.evaluation.metrics import case_metrics
from fedpac_me.evaluation.surface import hd95_mm

MM = (1.0, 1.0, 1.0)
BIG = np.s_[2:8, 2:8, 2:8]  # 216 voxels
FAR = np.s_[20:24, 20:24, 20:24]  # 64 voxels
SPECK = np.s_[2:3, 26:27, 26:27]


def mask(*boxes: tuple[slice, slice, slice]) -> np.ndarray:
    """A volume of 30³ with boxes."""
    found = np.zeros((30, 30, 30), bool)
    for box in boxes:
        found[box] = True
    return found


def counts(found: LesionScores) -> tuple[int, int, int]:
    return found.true_positives, found.false_positives, found.false_negatives


def test_two_lesions_found_exactly():
    assert lesion_scores(mask(BIG, FAR), mask(BIG, FAR), MM) == LesionScores(1.0, 0.0, 2, 0, 0)


def test_a_missed_lesion_costs_as_much_as_a_large_one():
    found = lesion_scores(mask(BIG), mask(BIG, FAR), MM)
    assert found == LesionScores(0.5, 374 / 2, 1, 0, 1)


def test_a_false_speck_halves_the_score_whatever_its_size():
    found = lesion_scores(mask(BIG, SPECK), mask(BIG), MM)
    assert found == LesionScores(0.5, 374 / 2, 1, 1, 0)


def test_a_missed_lesion_and_a_speck_and_a_shifted_lesion():
    found = lesion_scores(mask(np.s_[3:9, 2:8, 2:8], SPECK), mask(BIG, FAR), MM)
    assert counts(found) == (1, 1, 1)
    assert found.dice == pytest.approx(2 * 180 / 432 / 3)
    assert found.hd95_mm == pytest.approx((1 + 2 * 374) / 3)


@pytest.mark.parametrize(
    ("spacing", "counted"),
    [((1.0, 1.0, 50.0), False), ((1.0, 1.0, 50.1), True), ((1.0, 1.0, 1.0), False)],
)
def test_a_lesion_of_at_most_50_cubic_millimetres_does_not_count(spacing, counted):
    assert counts(lesion_scores(mask(), mask(SPECK), spacing)) == (0, 0, int(counted))
    assert counts(lesion_scores(mask(SPECK), mask(SPECK), spacing)) == (int(counted), 0, 0)


def test_what_touches_an_ignored_lesion_is_not_false():
    found = lesion_scores(mask(BIG, SPECK), mask(BIG, SPECK), MM)
    assert found == LesionScores(1.0, 0.0, 1, 0, 0)


@pytest.mark.parametrize(("gap", "lesions"), [(6, 1), (7, 2)])
def test_lesions_whose_dilations_touch_are_one(gap, lesions):
    """Three dilations bridge six voxels from two sides, and 26 neighbours touch without a gap."""
    other = np.s_[8 + gap : 14 + gap, 2:8, 2:8]
    assert counts(lesion_scores(mask(), mask(BIG, other), MM)) == (0, 0, lesions)
    assert counts(lesion_scores(mask(BIG), mask(BIG, other), MM)) == (1, 0, lesions - 1)


@pytest.mark.parametrize(("distance", "false"), [(3, 0), (4, 1)])
def test_a_part_belongs_to_a_lesion_that_it_touches_dilated(distance, false):
    part = np.s_[7 + distance : 8 + distance, 4:5, 4:5]
    found = lesion_scores(mask(BIG, part), mask(BIG), MM)
    assert counts(found) == (1, false, 0)
    assert found.dice == pytest.approx(2 * 216 / 433 if not false else 0.5)


def test_dilation_leaves_out_corners():
    corner = np.s_[8:9, 8:9, 8:9]  # touches BIG by a corner only
    assert counts(lesion_scores(mask(corner), mask(BIG), MM, LesionRules(dilation=1))) == (0, 1, 1)
    assert counts(lesion_scores(mask(corner), mask(BIG), MM, LesionRules(dilation=2))) == (1, 0, 0)


def test_a_part_that_bridges_two_lesions_counts_for_both():
    bridge = np.s_[2:24, 2:8, 2:8]
    truth = mask(BIG, np.s_[18:24, 2:8, 2:8])
    found = lesion_scores(mask(bridge), truth, MM)
    assert counts(found) == (2, 0, 0)
    assert found.dice == pytest.approx(2 * 216 / (216 + 22 * 36))


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [
        (mask(), mask(), LesionScores(1.0, 0.0, 0, 0, 0)),
        (mask(SPECK), mask(), LesionScores(0.0, 374.0, 0, 1, 0)),
        (mask(), mask(FAR), LesionScores(0.0, 374.0, 0, 0, 1)),
        (mask(), mask(SPECK), LesionScores(1.0, 0.0, 0, 0, 0)),
    ],
)
def test_empty_masks(predicted, true, expected):
    assert lesion_scores(predicted, true, MM) == expected


def test_rules_are_the_callers():
    rules = LesionRules(dilation=0, ignored_mm3=0, penalty_hd95_mm=10)
    gap = mask(BIG, np.s_[9:10, 2:3, 2:3])
    assert lesion_scores(mask(BIG), gap, MM, rules) == LesionScores(0.5, 5.0, 1, 0, 1)
    assert LesionRules() == BRATS_GLI
    with pytest.raises(InputError, match="0 or more"):
        LesionRules(dilation=-1)


def the_long_way(predicted: np.ndarray, true: np.ndarray, rules: LesionRules) -> LesionScores:
    """One lesion after the other in the whole image, as the rules are told."""
    every, reach = np.ones((3, 3, 3)), ndimage.generate_binary_structure(3, 2)
    parts, number = ndimage.label(predicted, every)
    halos, lesions = ndimage.label(ndimage.binary_dilation(true, reach, rules.dilation), every)
    dice, distances, belonging, found, missed = [], [], set(), 0, 0
    for lesion in range(1, lesions + 1):
        own = true & (halos == lesion)
        mine = set(np.unique(parts[ndimage.binary_dilation(own, reach, rules.dilation)])) - {0}
        belonging |= mine
        if own.sum() <= rules.ignored_mm3:
            continue
        whole = np.isin(parts, list(mine))
        dice.append(2 * (whole & own).sum() / (whole.sum() + own.sum()))
        distances.append(hd95_mm(whole, own, MM) if mine else rules.penalty_hd95_mm)
        found, missed = found + bool(mine), missed + (not mine)
    false = number - len(belonging)
    total = len(dice) + false
    if not total:
        return LesionScores(1.0, 0.0, 0, 0, 0)
    distance = (sum(distances) + false * rules.penalty_hd95_mm) / total
    return LesionScores(float(sum(dice) / total), distance, found, false, missed)


@settings(max_examples=60)
@given(st.data())
def test_random_masks_score_as_the_long_way(data):
    """Also where dilation meets the image's edge or the box around both masks."""
    shape = (12, 9, 16)
    rules = LesionRules(data.draw(st.integers(1, 3)), data.draw(st.sampled_from([0, 1, 2, 50])))
    predicted, true = (data.draw(arrays(bool, shape, elements=st.just(True), fill=st.just(False))) for _ in range(2))
    for known in (None, hd95_mm(predicted, true, MM) if predicted.any() and true.any() else None):
        found = lesion_scores(predicted, true, MM, rules, known)
        expected = the_long_way(predicted, true, rules)
        assert counts(found) == counts(expected)
        assert found.dice == pytest.approx(expected.dice, abs=1e-12)
        assert found.hd95_mm == pytest.approx(expected.hd95_mm, abs=1e-9)


def test_cases_carry_the_figures_of_every_region():
    truth = np.zeros((30, 30, 30), np.uint8)
    truth[BIG] = 2
    truth[FAR] = 4
    prediction = np.where(truth == 2, 2, 0).astype(np.uint8)
    scores = case_metrics(prediction, truth)
    assert [scores[f"lesion_{name}_WT"] for name in ("dice", "hd95", "tp", "fp", "fn")] == [0.5, 187.0, 1, 0, 1]
    assert [scores[f"lesion_{name}_ET"] for name in ("dice", "hd95", "tp", "fp", "fn")] == [0.0, 374.0, 0, 0, 1]
