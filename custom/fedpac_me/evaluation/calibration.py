# SPDX-License-Identifier: Apache-2.0
"""Whether a probability of 0.8 comes true eight times in ten."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from fedpac_me.errors import InputError
from fedpac_me.labels import REGIONS, regions_from_labels

BINS = 15

CALIBRATION = tuple(f"{metric}_{region}" for metric in ("ece", "null_ece") for region in REGIONS)
"""The keys of ``case_calibration``, in order. A case of which only labels are known has none of them."""

CALIBRATION_DEFINITION = (
    f"ECE, the expected calibration error, is how far a region's probability lies from how often it comes true, over "
    f"the voxels inside the brain and {BINS} equal bins of the probability: 0 is perfect. Most of these voxels are "
    "easy, so the figure is small for everyone; “nothing” is that of being sure that there is no tumour anywhere"
)


def case_calibration(logits: np.ndarray, truth: np.ndarray, brain: np.ndarray) -> dict[str, float | None]:
    """How well one case's probabilities are calibrated, beside being sure of no tumour, which needs no network.

    Args:
        logits: CDHW, channels as ``REGIONS``.
        truth: BraTS labels, DHW.
        brain: DHW bool, where voxels count.

    Returns:
        Builtins, with the keys of ``CALIBRATION``. ``ece_…`` is ``None`` where a logit in the brain is NaN;
        ``null_ece_…`` is the share of the brain that is the region, since what is said there is always 0.

    Raises:
        InputError: see ``expected_calibration_error``.
    """
    regions = regions_from_labels(truth)
    errors = expected_calibration_error(expit(logits), regions, brain)
    shares = (float(share) for share in regions[:, brain].mean(1))
    return dict(zip(CALIBRATION, (*errors.values(), *shares), strict=True))


def expected_calibration_error(
    probabilities: np.ndarray, truth: np.ndarray, brain: np.ndarray, bins: int = BINS
) -> dict[str, float | None]:
    """Expected calibration error (ECE) of each region over the voxels of the brain.

    ECE = Σ_b n_b / n · |p̄_b - ȳ_b| over equal bins of the region's probability: n_b voxels, their mean probability
    p̄_b and the share ȳ_b of them that is the region (Naeini et al., AAAI 2015, for two classes). 0 is perfect. Outside
    the brain the answer is known, so that its voxels would only flatter the figure; most voxels inside are easy, too:
    compare figures of the same cases only.

    Not with MONAI's ``calibration_binning``: it adds up in float32, and over the 1.5 million voxels of a brain at 0.9
    finds a mean probability of 0.886.

    Args:
        probabilities: CDHW, channels as ``REGIONS``, from 0 to 1.
        truth: CDHW, bool or 0 and 1, channels as ``REGIONS``.
        brain: DHW, true where voxels count.
        bins: how many.

    Returns:
        The error of each region; ``None`` where one of its probabilities is NaN: no bin is right for it.

    Raises:
        InputError: the shapes do not fit, nothing counts, there is no bin, or a probability is not from 0 to 1.
    """
    probabilities, truth, brain = (np.asarray(array) for array in (probabilities, truth, brain))
    expected = (len(REGIONS), *brain.shape)
    if brain.ndim != 3 or probabilities.shape != expected or truth.shape != expected:
        raise InputError(
            f"Probabilities have shape {probabilities.shape}, truth {truth.shape}, brain {brain.shape}; expected "
            f"{len(REGIONS)} channels of one grid twice and that grid."
        )
    inside = brain.astype(bool)
    chosen = probabilities[:, inside]
    if bins < 1 or not chosen.size:
        raise InputError(f"Calibration needs a bin and a voxel; there are {bins} bins and {inside.sum()} brain voxels.")
    if (chosen < 0).any() or (chosen > 1).any():
        raise InputError("Probabilities must lie between 0 and 1; were these logits?")
    errors = [_calibration_error(*pair, bins) for pair in zip(chosen, truth[:, inside], strict=True)]
    return dict(zip(REGIONS, errors, strict=True))


def _calibration_error(probabilities: np.ndarray, truth: np.ndarray, bins: int) -> float | None:
    """Of two flat arrays. What is left of n_b / n · |p̄_b - ȳ_b| are two sums a bin; float64, as ``bincount`` adds."""
    if np.isnan(probabilities).any():
        return None
    number = np.minimum((probabilities * bins).astype(np.intp), bins - 1)
    said, came_true = (np.bincount(number, weights, bins) for weights in (probabilities, truth))
    return float(np.abs(said - came_true).sum() / probabilities.size)
