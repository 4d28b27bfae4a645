# SPDX-License-Identifier: Apache-2.0
"""What a scan looks like, apart from what it shows: the style vector by which it finds its expert.

Everything in it is free of the receiver's gain. It is taken from the whole brain of the un-augmented scan, once.
"""

from __future__ import annotations

import numpy as np

from fedpac_me.labels import MODALITIES

PERCENTILES = (2, 10, 25, 50, 75, 90, 98)
_FIGURES = (*(f"p{percentile}" for percentile in PERCENTILES), "skewness", "grain_x", "grain_y", "grain_z", "spread")
STYLE = tuple(f"{modality}_{figure}" for modality in MODALITIES for figure in ("present", *_FIGURES))
"""Names of the figures, in order: 13 a modality."""

_PER_MODALITY = 1 + len(_FIGURES)
_THINNING = 3
_SMALLEST = 1e-6


def style_vector(image: np.ndarray, present: np.ndarray) -> np.ndarray:
    """The style (``STYLE``, float32) of a scan: ``image`` CDHW raw intensities, zero outside the brain.

    Per modality: 1 if it is there; percentiles, skewness and mean absolute difference of neighbours along each axis,
    all of the z-scored intensities inside the brain; standard deviation over mean of the raw ones. A modality that is
    absent (``present`` C bool) has zeros.
    """
    brain = np.any(image != 0, axis=0)
    style = np.zeros((len(MODALITIES), _PER_MODALITY), np.float32)
    for row, channel, there in zip(style, image, present, strict=True):
        if there:
            row[0] = 1
            row[1:] = _figures(channel.astype(np.float32), brain)
    return style.ravel()


def known_figures(style: np.ndarray) -> np.ndarray:
    """Which figures of each style (…S) say something: those of modalities that are there (…S bool)."""
    rows = style.reshape(*style.shape[:-1], len(MODALITIES), _PER_MODALITY)
    return np.broadcast_to(rows[..., :1] > 0, rows.shape).reshape(style.shape)


def _figures(channel: np.ndarray, brain: np.ndarray) -> list[float]:
    inside = channel[brain]
    mean, deviation = float(inside.mean()), max(float(inside.std()), _SMALLEST)
    # A third of the voxels gives the same percentiles to the second digit in a third of the time.
    values = (inside[::_THINNING] - mean) / deviation
    percentiles = np.percentile(values, PERCENTILES).tolist()
    skewness = float(np.mean(values**3))
    grain = [_grain(channel, brain, axis) / deviation for axis in range(3)]
    return [*percentiles, skewness, *grain, deviation / max(abs(mean), _SMALLEST)]


def _grain(channel: np.ndarray, brain: np.ndarray, axis: int) -> float:
    """Mean absolute difference of neighbours along ``axis`` where both lie in the brain."""
    after, before = (np.moveaxis(volume, axis, 0) for volume in (channel, brain))
    both = before[1:] & before[:-1]
    return float(np.abs(after[1:] - after[:-1])[both].mean()) if both.any() else 0.0
