# SPDX-License-Identifier: Apache-2.0
"""A glioma in a brain: oedema that follows white matter, a core off its centre, an enhancing rim around necrosis.

Volumes are targets reached exactly: a region is the given number of voxels with the smallest values of a noisy
distance, so sizes do not depend on the resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedpac_me.data.phantom.anatomy import Anatomy, MassEffect
from fedpac_me.data.phantom.canvas import HALF_EXTENT, Canvas
from fedpac_me.labels import ENHANCING, NECROTIC, OEDEMA

_ENHANCING_LOW_GRADE = 0.15
"""Share of low-grade gliomas with a small enhancing nodule."""


@dataclass(frozen=True)
class TumourPlan:
    """What is decided before anything is drawn; lengths in units of length (see ``canvas``).

    Attributes:
        grade: "HGG" or "LGG".
        centre: left, back, up.
        whole: share of the brain's volume.
        core: share of the whole tumour that is core.
        enhancing: share of the core that enhances.
    """

    grade: str
    centre: np.ndarray
    whole: float
    core: float
    enhancing: float

    @property
    def radius(self) -> float:
        """Radius of a ball of the tumour's volume."""
        return float((self.whole * 0.9 * np.prod(HALF_EXTENT)) ** (1 / 3))

    def mass_effect(self, rng: np.random.Generator) -> MassEffect:
        """How far the tumour pushes its surroundings; low-grade gliomas infiltrate rather than push."""
        return MassEffect(self.centre, self.radius, rng.uniform(0.12, 0.3) * (1.0 if self.grade == "HGG" else 0.4))


@dataclass(frozen=True)
class Tumour:
    """Labels (DHW uint8, BraTS) and, within label 1, which voxels are solid but do not enhance (DHW bool)."""

    labels: np.ndarray
    solid: np.ndarray


def plan_tumour(rng: np.random.Generator, grade: str, size: float) -> TumourPlan:
    """Draw position and proportions; ``size`` is the hospital's typical share of the brain's volume."""
    direction = rng.standard_normal(3)
    direction /= np.linalg.norm(direction)
    centre = direction * rng.uniform(0.35, 0.62) * np.array(HALF_EXTENT)
    centre[0] = np.copysign(max(abs(centre[0]), 0.24), centre[0])  # gliomas sit in a hemisphere
    centre[2] = max(centre[2], -0.22)  # and above the tentorium
    whole = float(np.clip(size * np.exp(rng.normal(0, 0.25)), 0.02, 0.16))
    if grade == "HGG":
        return TumourPlan(grade, centre, whole, rng.uniform(0.32, 0.58), rng.uniform(0.4, 0.75))
    enhancing = rng.uniform(0.06, 0.15) if rng.random() < _ENHANCING_LOW_GRADE else 0.0
    return TumourPlan(grade, centre, whole, rng.uniform(0.5, 0.85), enhancing)


def grow_tumour(canvas: Canvas, rng: np.random.Generator, plan: TumourPlan, anatomy: Anatomy) -> Tumour:
    """Draw the tumour into its brain."""
    distance = _whole_distance(canvas, rng, plan, anatomy)
    open_to_it = anatomy.brain & (anatomy.ventricle < 0.4)
    whole = _smallest(distance, open_to_it, plan.whole * anatomy.brain.sum())
    from_core = _core_distance(canvas, rng, plan)
    core = _smallest(from_core + 0.35 * distance, whole, plan.core * whole.sum())
    labels = np.where(whole, np.uint8(OEDEMA), np.uint8(0))
    labels[core] = NECROTIC
    grain = canvas.smooth_field(rng, 0.07)
    if plan.grade == "LGG":
        labels[_smallest(from_core + 0.8 * grain, core, plan.enhancing * core.sum())] = ENHANCING
        return Tumour(labels, labels == NECROTIC)
    dead = _smallest(from_core + 0.16 * grain, core, (1 - plan.enhancing) * core.sum())
    labels[core & ~dead] = ENHANCING
    solid = core & (grain > rng.uniform(1.2, 2.5))  # gaps in the rim
    labels[solid] = NECROTIC
    return Tumour(labels, solid)


def _whole_distance(canvas: Canvas, rng: np.random.Generator, plan: TumourPlan, anatomy: Anatomy) -> np.ndarray:
    across = _radial(canvas, plan.centre, rng.uniform(0.8, 1.25, 3)) / np.float32(plan.radius)
    noise = 0.24 * canvas.smooth_field(rng, 0.12) + 0.10 * canvas.smooth_field(rng, 0.045)
    other_side = np.clip(-np.sign(plan.centre[0]) * canvas.coordinates[0], 0, None) / np.float32(plan.radius)
    # Oedema spares the cortex, which gives it its fingers.
    return (across + noise + 0.40 * anatomy.grey + 0.5 * anatomy.csf + 0.35 * other_side).astype(np.float32)


def _core_distance(canvas: Canvas, rng: np.random.Generator, plan: TumourPlan) -> np.ndarray:
    centre = plan.centre + rng.normal(0, 0.16, 3) * plan.radius
    across = _radial(canvas, centre, rng.uniform(0.8, 1.25, 3)) / np.float32(plan.radius * plan.core ** (1 / 3))
    return across + 0.16 * canvas.smooth_field(rng, 0.09) + 0.07 * canvas.smooth_field(rng, 0.045)


def _radial(canvas: Canvas, centre: np.ndarray, stretch: np.ndarray) -> np.ndarray:
    stretch = stretch / np.cbrt(stretch.prod())
    parts = zip(canvas.coordinates, centre, stretch, strict=True)
    return np.sqrt(sum(((axis - np.float32(c)) * np.float32(s)) ** 2 for axis, c, s in parts))


def _smallest(values: np.ndarray, among: np.ndarray, count: float) -> np.ndarray:
    """The ``count`` voxels of ``among`` (DHW bool) with the smallest ``values``, as a mask."""
    count = min(round(float(count)), int(among.sum()))
    mask = np.zeros(among.shape, dtype=bool)
    if count > 0:
        limit = np.partition(values[among], count - 1)[count - 1]
        mask = among & (values <= limit)
    return mask
