# SPDX-License-Identifier: Apache-2.0
"""How sure a network is of its own answer, without any truth to compare it with."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

_SMOOTHING = 1e-3
"""As a share of the brain: an empty answer is sure of itself where the probabilities sum to much less."""


def expected_dice(logits: np.ndarray, brain: np.ndarray) -> float:
    """The soft Dice of an answer with the probabilities that it was cut from, mean over regions, 0 to 1.

    D = mean over r of (2 Σ p y + s) / (Σ p + Σ y + s), y = [p > ½]. If the probabilities are right it is about the Dice
    to be expected; where they hover around ½, as outside of what the network knows, it is low.

    Args:
        logits: CDHW, a channel a region.
        brain: DHW bool; other voxels do not count.
    """
    probability = expit(logits[:, brain].astype(np.float64))
    answer = probability > 0.5
    smoothing = _SMOOTHING * brain.sum()
    agreement = 2 * (probability * answer).sum(1) + smoothing
    return float(np.mean(agreement / np.maximum(probability.sum(1) + answer.sum(1) + smoothing, np.finfo(float).tiny)))
