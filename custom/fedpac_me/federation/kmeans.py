# SPDX-License-Identifier: Apache-2.0
"""Weighted k-means on points of which some coordinates are unknown.

scipy's and scikit-learn's know neither weights together with seeded restarts nor unknown coordinates. The distance of
two points is the mean square over the coordinates that both know: a scan without FLAIR is compared by the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_RESTARTS = 16
_ITERATIONS = 50


@dataclass(frozen=True)
class Points:
    """``values`` [n, S] float64; ``known`` [n, S] bool; ``weights`` [n] float64, positive."""

    values: np.ndarray
    known: np.ndarray
    weights: np.ndarray


def square_distances(values: np.ndarray, known: np.ndarray, keys: np.ndarray, keys_known: np.ndarray) -> np.ndarray:
    """Mean squared difference [n, k] over the coordinates that a point and a key both know; infinite where none."""
    both = known[:, None] & keys_known[None]
    squares = np.where(both, values[:, None] - keys[None], 0.0) ** 2
    count = both.sum(2)
    return np.where(count > 0, squares.sum(2) / np.maximum(count, 1), np.inf)


def weighted_mean(points: Points, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean [S] of the points where ``members`` is true, each coordinate over those who know it, and who knows it."""
    weight = points.weights[members, None] * points.known[members]
    total = weight.sum(0)
    return (weight * points.values[members]).sum(0) / np.where(total > 0, total, 1), total > 0


def kmeans(points: Points, clusters: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres [k, S] and what they know [k, S], k ≤ ``clusters``; the best of several seeded k-means++ starts.

    Fewer centres come back when there are fewer different points (Arthur & Vassilvitskii 2007 for the start).
    """
    rng = np.random.default_rng(seed)
    runs = [_lloyd(points, *_start(points, clusters, rng)) for _ in range(_RESTARTS)]
    costs = [cost for cost, _, _ in runs]
    _, centres, known = runs[int(np.argmin(costs))]
    return centres, known


def _start(points: Points, clusters: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    chosen = [int(rng.choice(len(points.values), p=points.weights / points.weights.sum()))]
    while len(chosen) < clusters:
        near = square_distances(points.values, points.known, points.values[chosen], points.known[chosen]).min(1)
        chance = points.weights * np.where(np.isfinite(near), near, 0)
        if chance.sum() <= 0:
            break
        chosen.append(int(rng.choice(len(points.values), p=chance / chance.sum())))
    return points.values[chosen], points.known[chosen]


def _lloyd(points: Points, centres: np.ndarray, known: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    nearest = None
    for _ in range(_ITERATIONS):
        distances = square_distances(points.values, points.known, centres, known)
        before, nearest = nearest, distances.argmin(1)
        if before is not None and np.array_equal(before, nearest):
            break
        means = [weighted_mean(points, nearest == cluster) for cluster in np.unique(nearest)]
        centres, known = (np.stack(parts) for parts in zip(*means, strict=True))
    distances = square_distances(points.values, points.known, centres, known)
    return float((points.weights * distances.min(1)).sum()), centres, known
