# SPDX-License-Identifier: Apache-2.0
"""How much two labels of the same scans say about each other, from the table that counts both."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

Table = Sequence[Sequence[float]]
"""Rows of counts or masses, all of one length, none negative."""


def entropy_bits(masses: Iterable[float]) -> float:
    """Entropy of the masses' shares in bits: 0 when all lies on one, log2(n) when n have the same; 0 of nothing."""
    return _entropy(masses) / math.log(2)


def normalised_mutual_information(table: Table) -> float:
    """Mutual information of rows and columns over the arithmetic mean of their entropies, from 0 to 1.

    The normalisation is scikit-learn's default (``sklearn.metrics.normalized_mutual_info_score``). Unlike there, two
    sides of a single value each give 0 and not 1: where nothing varies, nothing can be said to follow anything.
    """
    rows, columns = _margins(table)
    scale = (_entropy(rows) + _entropy(columns)) / 2
    if not _varies(rows) or not _varies(columns):
        return 0.0
    shared = _entropy(rows) + _entropy(columns) - _entropy(value for row in table for value in row)
    return min(max(shared / scale, 0.0), 1.0)


def expected_mutual_information(table: Table) -> float | None:
    """What ``normalised_mutual_information`` is on average when the columns are dealt to the scans by chance.

    It is far from 0 in a small table with many rows, so a value means little without it. Both margins stay as they are,
    hence the normalisation does too, and the expectation is exact (Vinh, Epps and Bailey, JMLR 2010, equation 24a).
    ``None`` when the table holds masses that are no counts.
    """
    rows, columns = _margins(table)
    if any(value != int(value) for row in table for value in row):
        return None
    if not _varies(rows) or not _varies(columns):
        return 0.0
    total = int(sum(rows))
    shared = sum(_expected_cell(int(row), int(column), total) for row in rows for column in columns)
    return min(max(2 * shared / (_entropy(rows) + _entropy(columns)), 0.0), 1.0)


def says_something(table: Table) -> bool:
    """Whether both sides take more than one value, without which no relation can show."""
    return all(map(_varies, _margins(table)))


def _expected_cell(row: int, column: int, total: int) -> float:
    """One cell's expected share of the mutual information, in nats: its count is hypergeometric."""
    fixed = sum(math.lgamma(n + 1) for n in (row, column, total - row, total - column)) - math.lgamma(total + 1)
    expected = 0.0
    for count in range(max(1, row + column - total), min(row, column) + 1):
        others = (count, row - count, column - count, total - row - column + count)
        chance = math.exp(fixed - sum(math.lgamma(n + 1) for n in others))
        expected += chance * count / total * math.log(total * count / (row * column))
    return expected


def _margins(table: Table) -> tuple[list[float], list[float]]:
    return [sum(row) for row in table], [sum(column) for column in zip(*table, strict=True)]


def _varies(masses: Sequence[float]) -> bool:
    return sum(mass > 0 for mass in masses) > 1


def _entropy(masses: Iterable[float]) -> float:
    """In nats, of the masses' shares."""
    positive = [mass for mass in masses if mass > 0]
    total = math.fsum(positive)
    return -math.fsum(mass / total * math.log(mass / total) for mass in positive) if len(positive) > 1 else 0.0
