# SPDX-License-Identifier: Apache-2.0
"""A healthy brain: hull, folded cortex, white matter, ventricles, deep grey matter, vessels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedpac_me.data.phantom.canvas import HALF_EXTENT, Canvas, soft_step

_CORTEX = 0.038
"""Thickness of the cortex, 3.2 mm."""
_CEREBELLAR_CORTEX = 0.10
"""The folia of the cerebellum are finer than a voxel; they show as one thick grey layer."""
_FOLD_WAVELENGTH = 0.26
"""Twice the width of a gyrus."""
_DEEP_GREY = (  # centre (left, back, up) and radii: thalamus, lentiform nucleus, head of the caudate
    ((0.11, 0.12, -0.05), (0.085, 0.15, 0.09)),
    ((0.29, -0.08, -0.04), (0.065, 0.21, 0.13)),
    ((0.155, -0.30, 0.03), (0.045, 0.09, 0.10)),
)


@dataclass(frozen=True)
class MassEffect:
    """Tissue pushed outwards by a tumour at ``centre`` (left, back, up) of about ``radius``."""

    centre: np.ndarray
    radius: float
    push: float

    def undo(self, coordinates: list[np.ndarray]) -> list[np.ndarray]:
        """Where the tissue now at ``coordinates`` (three DHW arrays) lay before."""
        offset = [axis - np.float32(c) for axis, c in zip(coordinates, self.centre, strict=True)]
        distance = np.sqrt(sum(o**2 for o in offset)) / np.float32(self.radius)
        pull = np.float32(self.push) * np.exp(-0.5 * (distance / 1.3) ** 2) / (distance + np.float32(0.3))
        return [axis - o * pull for axis, o in zip(coordinates, offset, strict=True)]


@dataclass(frozen=True)
class Anatomy:
    """Tissue maps of one brain, each DHW float32 in 0..1 unless said otherwise.

    Attributes:
        brain: bool, what skull stripping leaves.
        depth: distance below the brain's surface, in units of length.
        csf, grey, white: sum to 1 everywhere.
        ventricle: part of ``csf``.
        rim: white matter just outside the ventricles, which is bright on FLAIR in the elderly.
        vessels: vessels and choroid plexus, which take up contrast agent.
    """

    brain: np.ndarray
    depth: np.ndarray
    csf: np.ndarray
    grey: np.ndarray
    white: np.ndarray
    ventricle: np.ndarray
    rim: np.ndarray
    vessels: np.ndarray


def grow_brain(canvas: Canvas, rng: np.random.Generator, mass: MassEffect) -> Anatomy:
    """Draw one healthy brain, already displaced by a tumour's mass effect."""
    age = rng.uniform(0, 1)  # wider sulci and ventricles, a brighter rim
    where = mass.undo(canvas.coordinates)
    width = canvas.edge_width
    depth = _hull_depth(canvas, rng)
    fold = canvas.wavy_field(rng, _FOLD_WAVELENGTH)
    pial, grey_depth = _pial_distance(canvas, rng, depth, fold, where, age)
    inside = _ventricle_distance(canvas, rng, where, age)

    ventricle = soft_step(inside, width)
    csf = np.maximum(soft_step(-pial, width), ventricle)
    white = soft_step(pial - grey_depth, width)
    white *= 1 - 0.75 * soft_step(_deep_grey_distance(canvas, rng, where), 1.5 * width)
    white = np.minimum(white, 1 - csf)
    return Anatomy(
        brain=depth > 0,
        depth=depth,
        csf=csf,
        grey=1 - csf - white,
        white=white,
        ventricle=ventricle,
        rim=np.float32(age) * np.exp(-((inside / np.float32(0.05)) ** 2)) * white,
        vessels=_vessels(canvas, rng, fold, pial, where) + 0.6 * _choroid(canvas, rng, ventricle),
    )


def _hull_depth(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    left, back, up = canvas.coordinates
    half = np.array(HALF_EXTENT) * rng.uniform([0.93, 0.95, 0.94], [0.99, 0.99, 0.99])
    half_width = half[0] * (1 - 0.10 * np.clip(0.1 - back, 0, None) ** 2)  # narrower at the front
    radius = np.sqrt((left / half_width) ** 2 + (back / half[1]) ** 2 + (up / half[2]) ** 2)
    depth = (1 - radius) * np.float32(half[0])
    base = (up + 0.72 + 0.5 * back) / np.float32(1.12)  # the frontal lobes end higher than the cerebellum
    corner = np.float32(0.08)
    rounded = -corner * np.logaddexp(-depth / corner, -base / corner)
    return rounded.astype(np.float32) + np.float32(0.03) + 0.018 * canvas.smooth_field(rng, 0.16)


def _pial_distance(
    canvas: Canvas, rng: np.random.Generator, depth: np.ndarray, fold: np.ndarray, where: list[np.ndarray], age: float
) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the nearest cortical surface (negative in CSF) and the depth to which tissue is grey."""
    left, back, up = where
    slow = canvas.smooth_field(rng, 0.2)
    to_sheet = np.abs(fold) * np.float32(_FOLD_WAVELENGTH * np.sqrt(3) / (2 * np.pi))
    sulcus = np.hypot(to_sheet, np.clip(depth - (0.24 + 0.08 * slow), 0, None)) - np.float32(0.004 + 0.010 * age)
    midline = left + 0.015 * slow
    fissure = np.hypot(midline, np.clip(depth - 0.30 - 0.2 * np.clip(back, 0, 0.5), 0, None)) - np.float32(0.012)
    above_tentorium = up + 0.65 - 0.4 * back
    cerebellum = (above_tentorium < 0) & (back > -0.1)
    tentorium = np.hypot(above_tentorium, np.clip(-0.05 - back, 0, None)) - np.float32(0.012)
    sulcus = np.where(cerebellum, np.float32(1), np.minimum(sulcus, fissure))
    rim = depth - np.float32(0.012 + 0.018 * age)
    pial = np.minimum(np.minimum(rim, tentorium), sulcus)
    grey = np.where(cerebellum, np.float32(_CEREBELLAR_CORTEX), np.float32(_CORTEX))
    return pial, grey * (1 + 0.15 * slow)


def _ventricle_distance(canvas: Canvas, rng: np.random.Generator, where: list[np.ndarray], age: float) -> np.ndarray:
    """Distance inside (positive) or outside the lateral and third ventricles."""
    left, back, up = where
    size = np.float32((0.8 + 0.6 * age) * rng.uniform(0.9, 1.1))
    side, along = np.abs(left), back - 0.03
    centre = 0.075 + 0.02 * size + 0.30 * along**2  # the horns diverge to the front and to the back
    height = up - 0.10 + 0.45 * np.clip(along, 0, None) ** 2
    lateral = np.sqrt(((side - centre) / (0.045 * size)) ** 2 + (height / (0.10 * size)) ** 2 + (along / 0.46) ** 4)
    third = np.sqrt((left / 0.016) ** 2 + ((back - 0.03) / 0.17) ** 2 + ((up + 0.12) / 0.11) ** 2)
    distance = np.maximum((1 - lateral) * (0.045 * size), (1 - third) * np.float32(0.016))
    return distance + 0.006 * canvas.smooth_field(rng, 0.06)


def _deep_grey_distance(canvas: Canvas, rng: np.random.Generator, where: list[np.ndarray]) -> np.ndarray:
    left, back, up = where
    distance = np.float32(-1)
    for (x, y, z), (a, b, c) in _DEEP_GREY:
        radius = np.sqrt(((np.abs(left) - x) / a) ** 2 + ((back - y) / b) ** 2 + ((up - z) / c) ** 2)
        distance = np.maximum(distance, (1 - radius) * np.float32(min(a, b, c)))
    return distance + 0.008 * canvas.smooth_field(rng, 0.08)


def _vessels(
    canvas: Canvas, rng: np.random.Generator, fold: np.ndarray, pial: np.ndarray, where: list[np.ndarray]
) -> np.ndarray:
    """Cortical vessels run along the sulci: where two sheets of zeros cross is a line."""
    other = canvas.wavy_field(rng, 0.5)
    thickness = np.float32(0.18 + 0.25 / canvas.length)
    lines = np.exp(-((fold / thickness) ** 2) - (other / thickness) ** 2) * soft_step(0.03 - pial, canvas.edge_width)
    sinus = np.exp(-((where[0] / 0.02) ** 2)) * soft_step(0.02 - pial, canvas.edge_width) * (where[1] > 0.5)
    return np.maximum(lines, 0.6 * sinus)


def _choroid(canvas: Canvas, rng: np.random.Generator, ventricle: np.ndarray) -> np.ndarray:
    return ventricle * soft_step(canvas.smooth_field(rng, 0.04) - 1.3, 0.2)
