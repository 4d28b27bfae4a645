# SPDX-License-Identifier: Apache-2.0
"""What a received model is worth on a site's validation cases."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fedpac_me.evaluation.metrics import region_dice
from fedpac_me.labels import REGIONS


def mean_dice(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """``dice_<region>`` and ``dice_mean`` over at least one pair of label volumes, predicted and true."""
    scores = [list(region_dice(predicted, truth).values()) for predicted, truth in pairs]
    means = np.mean(scores, axis=0)
    dice = {f"dice_{region}": float(mean) for region, mean in zip(REGIONS, means, strict=True)}
    return {**dice, "dice_mean": float(means.mean())}
