# SPDX-License-Identifier: Apache-2.0
"""Normalised mutual information with answers worked out by hand or by trying every order."""

from itertools import permutations
from math import log2
from statistics import fmean

import pytest

from fedpac_me.evaluation.contingency import (
    entropy_bits,
    expected_mutual_information,
    normalised_mutual_information,
    says_something,
)


@pytest.mark.parametrize(
    ("table", "answer"),
    [
        ([[3, 0], [0, 5]], 1.0),
        ([[0, 2, 0], [7, 0, 0], [0, 0, 1]], 1.0),
        ([[2, 4], [3, 6]], 0.0),
        ([[5, 5]], 0.0),
        ([[5], [5]], 0.0),
        ([[4, 0], [3, 0]], 0.0),
        ([], 0.0),
        # Bits: H(rows) = 2 - 3/4 log2 3, H(columns) = 1, H(both) = 3/2.
        ([[2, 1], [0, 1]], (1.5 - 0.75 * log2(3)) / (1.5 - 0.375 * log2(3))),
        # What scikit-learn's normalized_mutual_info_score([0, 0, 0, 1], [0, 0, 1, 1]) documents for the same table.
        ([[2, 1], [0, 1]], 0.3437110184854508),
        # Two hospitals share two experts by halves, a third has its own: H = log2 3 by rows and columns, MI = H - 2/3.
        ([[4, 4, 0], [4, 4, 0], [0, 0, 8]], 1 - 2 / 3 / log2(3)),
    ],
)
def test_normalised_mutual_information(table, answer):
    assert normalised_mutual_information(table) == pytest.approx(answer, abs=1e-12)
    assert normalised_mutual_information([list(row) for row in zip(*table, strict=True)]) == pytest.approx(answer)
    assert normalised_mutual_information([[0.25 * value for value in row] for row in table]) == pytest.approx(answer)


def test_an_unused_expert_or_an_empty_row_changes_nothing():
    assert normalised_mutual_information([[2, 1, 0], [0, 1, 0], [0, 0, 0]]) == pytest.approx(0.3437110184854508)
    assert expected_mutual_information([[2, 1, 0], [0, 1, 0], [0, 0, 0]]) == pytest.approx(0.3437110184854508)


@pytest.mark.parametrize(
    ("rows", "columns"), [("aab", "xyx"), ("aabbc", "xyxyz"), ("aaabbc", "xxxyyy"), ("abcdef", "xxyyzz")]
)
def test_chance_is_the_mean_over_every_order(rows, columns):
    def table(order):
        pairs = list(zip(rows, order, strict=True))
        return [[pairs.count((row, column)) for column in "xyz"] for row in "abcdef"]

    by_trying = fmean(normalised_mutual_information(table(order)) for order in permutations(columns))
    assert expected_mutual_information(table(columns)) == pytest.approx(by_trying)


def test_chance_of_masses_that_are_no_counts_is_unknown():
    assert expected_mutual_information([[0.5, 1.5], [2, 0]]) is None
    assert expected_mutual_information([[2.0, 0.0], [0.0, 2.0]]) == pytest.approx(1 / 3)


def test_chance_where_nothing_varies_is_zero():
    assert expected_mutual_information([[3, 4]]) == 0
    assert expected_mutual_information([]) == 0


@pytest.mark.parametrize(
    ("masses", "bits"), [([1, 1], 1), ([2, 2, 2, 2, 0], 2), ([0.75, 0.25], 2 - 0.75 * log2(3)), ([5, 0], 0), ([], 0)]
)
def test_entropy(masses, bits):
    assert entropy_bits(masses) == pytest.approx(bits)


def test_a_relation_needs_two_values_on_both_sides():
    assert says_something([[1, 0], [0, 1]])
    assert not says_something([[1, 1]])
    assert not says_something([[1, 0], [1, 0]])
