# SPDX-License-Identifier: Apache-2.0
"""The robust rules against their definitions, SciPy, and attackers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import trim_mean

from fedpac_me.federation.robust import ROBUST_RULES, middle, site_weights, sites_needed, squared_distances


def drawn(sites: int, seed: int, size: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(sites, size))


def by_distance(rule: str, values: np.ndarray, hostile: int) -> np.ndarray:
    return site_weights(rule, squared_distances(values @ values.T), hostile)


@given(st.integers(1, 2), st.integers(0, 4), st.integers(0, 99))
def test_middle_is_what_scipy_says(hostile: int, more: int, seed: int) -> None:
    values = drawn(2 * hostile + 1 + more, seed)
    share = (hostile + 0.5) / len(values)
    assert np.allclose(middle("trimmed_mean", values, hostile), trim_mean(values, share))
    assert np.allclose(middle("median", values, hostile), trim_mean(values, 0.5 - 0.4 / len(values)))


@pytest.mark.parametrize("seed", range(5))
def test_the_geometric_median_is_the_nearest_point_to_all(seed: int) -> None:
    values = drawn(5, seed, 3)
    best = minimize(lambda z: np.linalg.norm(values - z, axis=1).sum(), values.mean(axis=0), tol=1e-12).x
    weights = by_distance("geometric_median", values, 1)
    assert weights.sum() == pytest.approx(1)
    assert np.allclose(weights @ values, best, atol=1e-5)


def test_the_geometric_median_of_equal_updates_and_of_one_that_most_send() -> None:
    same = np.tile(drawn(1, 0), (4, 1))
    assert by_distance("geometric_median", same, 1).tolist() == [0.25] * 4
    most = np.vstack([same[:3], same[:1] + 1e6])
    assert np.allclose(by_distance("geometric_median", most, 1) @ most, same[0], atol=1e-5)


def test_who_sends_the_mean_does_not_hold_the_geometric_median_there() -> None:
    """Two of seven collude: one far away, the other exactly where that moves the mean."""
    values = np.vstack([drawn(5, 3), np.full(6, 1e3)])
    values = np.vstack([values, values.mean(axis=0)])
    centre = by_distance("geometric_median", values, 2) @ values
    assert np.linalg.norm(centre - values[:5].mean(axis=0)) < 5
    line = np.array([[-3.0], [1.0], [1.0], [1.0], [0.0]])
    assert by_distance("geometric_median", line, 1) @ line == pytest.approx(1.0)


@given(st.integers(0, 2), st.integers(0, 3), st.integers(0, 99))
def test_multi_krum_by_its_definition(hostile: int, more: int, seed: int) -> None:
    values = drawn(2 * hostile + 3 + more, seed)
    sites = len(values)
    kept = sites - hostile - 2
    scores = [
        sum(sorted(((values[i] - values[j]) ** 2).sum() for j in range(sites) if j != i)[:kept]) for i in range(sites)
    ]
    chosen = set(np.argsort(scores)[:kept])
    weights = by_distance("multi_krum", values, hostile)
    assert {site for site in range(sites) if weights[site]} == chosen
    assert weights.sum() == pytest.approx(1)


def test_sites_needed() -> None:
    assert [sites_needed(rule, 2) for rule in ROBUST_RULES] == [1, 5, 5, 5, 5, 7]


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3])
def test_the_geometric_median_does_not_depend_on_the_scale(scale: float) -> None:
    values = drawn(5, 1, 3)
    expected = by_distance("geometric_median", values, 1)
    assert np.allclose(by_distance("geometric_median", scale * values, 1), expected, atol=1e-9)


def test_an_update_between_the_others_is_the_geometric_median_itself() -> None:
    """At an angle of 150° the two others pull with 0.52, less than the one that is there holds; at 90° they win."""
    for angle, stays in ((150, True), (90, False)):
        half = np.radians(angle) / 2
        values = np.array([[0.0, 0.0], [np.sin(half), np.cos(half)], [-np.sin(half), np.cos(half)]])
        for order in itertools.permutations(range(3)):
            centre = by_distance("geometric_median", values[list(order)], 1) @ values[list(order)]
            assert (np.linalg.norm(centre) < 1e-6) == stays
    middle_one = by_distance("geometric_median", np.array([[-1.0], [0.0], [1.0]]), 1)
    assert middle_one.tolist() == [1 / 3] * 3
