# SPDX-License-Identifier: Apache-2.0
"""Merges that a minority of hostile sites cannot steer, as functions of what the sites sent; one vote a site.

Two of them look at every coordinate for itself: the median and the trimmed mean (Yin, Chen, Ramchandran and Bartlett
2018, definitions 1 and 2). Two weigh whole vectors by their distances: the geometric median (as in Pillutla, Kakade
and Harchaoui 2022) and multi-Krum (Blanchard, El Mhamdi, Guerraoui and Stainer 2017). Each is only proven for enough
sites: ``sites_needed``. Rows are sites, in the order of their names, so nothing depends on the order of arrival.
"""

from __future__ import annotations

import numpy as np

NONE, NORM_CLIPPING = "none", "norm_clipping"
MEDIAN, TRIMMED_MEAN = "median", "trimmed_mean"
GEOMETRIC_MEDIAN, MULTI_KRUM = "geometric_median", "multi_krum"
ROBUST_RULES = (NONE, NORM_CLIPPING, MEDIAN, TRIMMED_MEAN, GEOMETRIC_MEDIAN, MULTI_KRUM)

_ITERATIONS = 1000
_CLOSE_ENOUGH = 1e-14


def sites_needed(rule: str, hostile: int) -> int:
    """The fewest sites among which ``hostile`` ones cannot steer ``rule``."""
    if rule == NONE:
        return 1
    return 2 * hostile + (3 if rule == MULTI_KRUM else 1)


def middle(rule: str, values: np.ndarray, hostile: int) -> np.ndarray:
    """``MEDIAN`` or ``TRIMMED_MEAN`` of [sites, values], coordinate by coordinate.

    The trimmed mean leaves out the ``hostile`` largest and as many smallest. SciPy's ``trim_mean`` takes a share
    instead of a number, which float rounding can make one too few.
    """
    if rule == MEDIAN:
        return np.median(values, axis=0)
    return np.sort(values, axis=0)[hostile : len(values) - hostile].mean(axis=0)


def site_weights(rule: str, squared: np.ndarray, hostile: int) -> np.ndarray:
    """The sites' weights under ``GEOMETRIC_MEDIAN`` or ``MULTI_KRUM``; they sum to 1.

    Args:
        squared: [sites, sites], squared distances between the updates.
    """
    return _geometric_median(squared) if rule == GEOMETRIC_MEDIAN else _multi_krum(squared, hostile)


def squared_distances(products: np.ndarray) -> np.ndarray:
    """[sites, sites] squared distances from the scalar products of all pairs."""
    lengths = np.diagonal(products)
    found = np.maximum(lengths[:, None] + lengths[None, :] - products - products.T, 0.0)
    np.fill_diagonal(found, 0.0)
    return found


def _geometric_median(squared: np.ndarray) -> np.ndarray:
    """Weiszfeld's iteration: each site weighs the inverse of its distance to the present centre z = Σ a x.

    z need not be known: |x_i - z|² = Σ_k a_k d_ik² - ½ Σ_kl a_k a_l d_kl².
    """
    weights = np.full(len(squared), 1.0 / len(squared))
    if not squared.any():
        return weights
    rounding = 4 * len(squared) * np.finfo(float).eps
    for _ in range(_ITERATIONS):
        to_sites = squared @ weights
        from_centre = to_sites - 0.5 * (weights @ to_sites)
        # A difference of large numbers: below their rounding it says no more than that the centre is at this update.
        near = from_centre <= rounding * to_sites
        moved = _moved(weights, np.sqrt(np.maximum(from_centre, 0.0)), near, squared)
        if np.abs(moved - weights).max() < _CLOSE_ENOUGH:
            return moved
        weights = moved
    return weights


def _moved(weights: np.ndarray, distances: np.ndarray, near: np.ndarray, squared: np.ndarray) -> np.ndarray:
    """One step. Where the centre lies on η updates it only leaves as far as the others pull harder than η.

    This is Vardi and Zhang's (2000) correction; without it whoever sends the mean would hold the centre there.
    """
    pulls = np.divide(1.0, distances, out=np.zeros_like(distances), where=~near)
    moved = pulls / pulls.sum()
    if not near.any():
        return moved
    pulls[np.argmax(near)] -= pulls.sum()
    pull = float(np.sqrt(max(-0.5 * (pulls @ squared @ pulls), 0.0)))
    stay = min(1.0, np.count_nonzero(near) / pull) if pull else 1.0
    return (1.0 - stay) * moved + stay * weights


def _multi_krum(squared: np.ndarray, hostile: int) -> np.ndarray:
    """The mean of the n - f - 2 sites whose n - f - 2 nearest neighbours are nearest; ties go by name."""
    sites = len(squared)
    kept = sites - hostile - 2
    others = np.sort(squared + np.diag(np.full(sites, np.inf)), axis=1)
    scores = others[:, :kept].sum(axis=1)
    weights = np.zeros(sites)
    weights[np.argsort(scores, kind="stable")[:kept]] = 1.0 / kept
    return weights
