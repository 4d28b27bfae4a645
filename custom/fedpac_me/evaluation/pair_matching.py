# SPDX-License-Identifier: Apache-2.0
"""Pair-matching accuracy: whether one scan encoded twice looks the same to the network, and two scans do not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PAIR_MATCHING = "pair_matching_accuracy"

THRESHOLD = 0.99

PAIR_MATCHING_DEFINITION = (
    "Pair-matching accuracy is what the authors' released code measures. Every test scan is paired with itself, "
    "encoded a second time, and with the next scan; the first pair is right if the cosine of its encodings is above "
    f"{THRESHOLD}, the second if it is not. It says whether encodings tell scans apart. It is no segmentation result: "
    "a network that draws no tumour at all can reach 1, and 0.5 is had for nothing, since a scan looks like itself"
)


def pair_matching_accuracy(
    first: Sequence[np.ndarray], again: Sequence[np.ndarray], threshold: float = THRESHOLD
) -> list[float | None]:
    """Of each scan the share of its two pairs that are right; the mean over scans is the accuracy over all pairs.

    As ``compute_metrics`` in ``src/federated/fedavg.py`` of github.com/Shradha1023/FedPAC-ME; it draws the other scan
    at random and may draw the same, here it is the next one, and the first for the last.

    Args:
        first: one vector a scan.
        again: of the same scans in the same order, encoded again.
        threshold: the cosine above which two encodings count as one scan's.

    Returns:
        0, 0.5 or 1 a scan; ``None`` for all where there is no other scan, and for one of whose vectors a cosine cannot
        be had: it is zero or not finite, or the next scan's is.
    """
    if len(first) < 2:
        return [None] * len(first)
    ahead = [*first[1:], first[0]]
    return [_share(*vectors, threshold) for vectors in zip(first, again, ahead, strict=True)]


def _share(one: np.ndarray, same: np.ndarray, other: np.ndarray, threshold: float) -> float | None:
    cosines = _cosine(one, same), _cosine(one, other)
    if not np.isfinite(cosines).all():
        return None
    return ((cosines[0] > threshold) + (cosines[1] <= threshold)) / 2


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    """NaN where a vector has no direction."""
    one, other = (np.asarray(vector, np.float64) for vector in (one, other))
    lengths = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / lengths) if np.isfinite(lengths) and lengths > 0 else float("nan")
