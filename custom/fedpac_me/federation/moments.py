# SPDX-License-Identifier: Apache-2.0
"""Running statistics are merged by their moments: the variance of a mixture is not the mean of the variances.

With M_k the weight, μ_k and σ²_k the statistics of site k: mean Σ M μ / Σ M, variance Σ M (σ² + μ²) / Σ M - mean².
Taken about the mean μ₀ that was sent out, with Δ the site's differences, that is
variance difference = mean(Δσ² + Δμ²) - mean(Δμ)². So a site sends Δσ² + Δμ² in place of Δσ², the server adds up as it
does everything else, and subtracts the last term once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

MEAN, VARIANCE = "running_mean", "running_var"


def to_moments(diff: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A site's difference as it is sent: every variance's with the square of its mean's added."""
    return {
        name: value if (mean := _mean_beside(name, diff)) is None else value + np.square(mean)
        for name, value in diff.items()
    }


def from_moments(merged: dict[str, np.ndarray], current: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The merged difference with variances again; none leads below zero from ``current``, the model's statistics."""
    return {
        name: value
        if (mean := _mean_beside(name, merged)) is None
        else np.maximum(value - np.square(mean), -current[name])
        for name, value in merged.items()
    }


def variances(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The running variances among ``weights``."""
    return {name: np.asarray(value) for name, value in weights.items() if name.endswith(VARIANCE)}


def _mean_beside(name: str, tensors: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """The mean that belongs to a variance; ``None`` for any other tensor."""
    return tensors.get(name.removesuffix(VARIANCE) + MEAN) if name.endswith(VARIANCE) else None
