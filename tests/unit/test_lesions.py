# SPDX-License-Identifier: Apache-2.0
"""Lesion by lesion: what is found, what is missed, what is made up; the answers are written out."""

from __future__ import annotations

import numpy as np
import pytest

from fedpac_me.errors import InputError
from fedpac_me.evaluation.lesions import LesionRules, lesion_scores

MM = (1.0, 1.0, 1.0)


def volume(*corners: tuple[int, int, int], edge: int = 4) -> np.ndarray:
    """A mask (DHW, 40³) with a cube of ``edge`` voxels from each corner: 64 mm³ each by default."""
    mask = np.zeros((40, 40, 40), bool)
    for x, y, z in corners:
        mask[x : x + edge, y : y + edge, z : z + edge] = True
    return mask


HERE, THERE = (5, 5, 5), (25, 25, 25)


def counts(predicted: np.ndarray, true: np.ndarray, **rules) -> tuple[int, int, int]:
    found = lesion_scores(predicted, true, MM, LesionRules(**rules))
    return found.true_positives, found.false_positives, found.false_negatives


def test_a_perfect_answer():
    found = lesion_scores(volume(HERE, THERE), volume(HERE, THERE), MM)
    assert (found.dice, found.hd95_mm) == (1.0, 0.0)
    assert counts(volume(HERE, THERE), volume(HERE, THERE)) == (2, 0, 0)


def test_a_missed_lesion_costs_as_much_as_a_found_one_earns():
    found = lesion_scores(volume(HERE), volume(HERE, THERE), MM)
    assert (found.dice, found.hd95_mm) == (0.5, 187.0)
    assert counts(volume(HERE), volume(HERE, THERE)) == (1, 0, 1)


def test_one_false_speck_halves_the_score_whatever_its_size():
    predicted = volume(HERE)
    predicted[30, 30, 30] = True
    found = lesion_scores(predicted, volume(HERE), MM)
    assert (found.dice, found.hd95_mm, found.false_positives) == (0.5, 187.0, 1)


def test_a_small_lesion_neither_counts_as_found_nor_as_missed():
    true = volume(HERE) | volume(THERE, edge=3)  # 27 mm³
    assert counts(volume(HERE), true) == (1, 0, 0)
    assert counts(volume(HERE, THERE), true) == (1, 0, 0)
    assert counts(volume(HERE), true, ignored_mm3=26) == (1, 0, 1)


def test_volume_counts_in_mm3_and_not_in_voxels():
    assert lesion_scores(volume(), volume(HERE, edge=3), (2.0, 1.0, 1.0)).false_negatives == 1
    assert lesion_scores(volume(), volume(HERE, edge=3), MM).false_negatives == 0


@pytest.mark.parametrize(("gap", "lesions"), [(6, 1), (7, 2)])
def test_neighbours_are_one_lesion_when_three_dilations_let_them_touch(gap, lesions):
    true = volume(HERE, (5 + 4 + gap, 5, 5))
    assert counts(volume(), true) == (0, 0, lesions)


def test_all_parts_that_touch_a_lesion_are_compared_with_it_together():
    predicted = volume(HERE, edge=1) | volume((8, 8, 8), edge=1)
    found = lesion_scores(predicted, volume(HERE), MM)
    assert found.dice == pytest.approx(2 * 2 / (64 + 2))
    assert (found.true_positives, found.false_positives) == (1, 0)


def test_nothing_at_all_is_right_where_there_is_nothing():
    found = lesion_scores(volume(), volume(), MM)
    assert (found.dice, found.hd95_mm) == (1.0, 0.0)
    assert counts(volume(HERE), volume()) == (0, 1, 0)


def test_impossible_rules_are_refused():
    with pytest.raises(InputError, match="0 or more"):
        LesionRules(dilation=-1)
