# SPDX-License-Identifier: Apache-2.0
"""Scores lesion by lesion, by the rules of BraTS 2023: a missed lesion or a false one costs as much as a large one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from fedpac_me.errors import InputError
from fedpac_me.evaluation.surface import hd95_mm

ALL_NEIGHBOURS = np.ones((3, 3, 3), bool)
"""26-connected: voxels that share a face, an edge or a corner belong together."""

_REACH = ndimage.generate_binary_structure(3, 2)
"""What the challenge's script dilates with: 3x3x3 without its eight corners."""


@dataclass(frozen=True)
class LesionRules:
    """What counts as one lesion and what a missed or a false one costs. The defaults are the challenge's for gliomas.

    Attributes:
        dilation: how often the truth is dilated; what then touches is one lesion. In voxels, whatever their size.
        ignored_mm3: lesions of the truth up to this volume neither count as found nor as missed.
        penalty_hd95_mm: HD95 of a missed or false lesion, whose Dice is 0.
    """

    dilation: int = 3
    ignored_mm3: float = 50.0
    penalty_hd95_mm: float = 374.0

    def __post_init__(self) -> None:
        if self.dilation < 0 or not self.ignored_mm3 >= 0 or not self.penalty_hd95_mm >= 0:
            raise InputError(f"Lesion rules must be numbers of 0 or more, not {self}.")


BRATS_GLI = LesionRules()
"""The preset GLI of the BraTS 2023 script. Its MEN dilates once; its MET dilates once and ignores up to 2 mm³."""

LESION_DEFINITION = (
    f"Lesion-wise as in BraTS 2023 (GLI): lesions of the truth are 26-connected after {BRATS_GLI.dilation} dilations, "
    f"those up to {BRATS_GLI.ignored_mm3:g} mm³ are ignored; each missed or false one counts Dice 0 and "
    f"HD95 {BRATS_GLI.penalty_hd95_mm:g} mm"
)


@dataclass(frozen=True)
class LesionScores:
    """Means over the lesions that count, missed and false ones included, and how many were found, false and missed."""

    dice: float
    hd95_mm: float
    true_positives: int
    false_positives: int
    false_negatives: int


def lesion_scores(
    predicted: np.ndarray,
    true: np.ndarray,
    spacing_mm: Sequence[float],
    rules: LesionRules = BRATS_GLI,
    known_hd95_mm: float | None = None,
) -> LesionScores:
    """Score one region (masks, DHW bool, on one grid) lesion by lesion.

    The rules are those of the challenge's script (``get_LesionWiseScores`` of github.com/rachitsaluja/
    BraTS-2023-Metrics): a part of the prediction belongs to every lesion whose dilation it touches, and a lesion is
    compared with all its parts together; a part that belongs to no lesion, not even to an ignored one, is a false
    lesion whatever its size. With nothing to count Dice is 1 and HD95 0. Dice and counts are the script's; its HD95
    weighs the surface by area (DeepMind's surface-distance), ours is MONAI's (see ``surface``): for two predictions of
    a real case it is 0.16 to 0.36 mm larger than the script's in each region.

    Args:
        predicted: what was predicted.
        true: the truth.
        spacing_mm: voxel edge along each axis, in millimetres.
        rules: see ``LesionRules``.
        known_hd95_mm: HD95 of the two whole masks, if known: a lone lesion's need not be computed again.
    """
    found = _Lesions.find(predicted, true, rules)
    dice, matched = found.dice(), found.matched()
    counted = found.sizes * math.prod(spacing_mm) > rules.ignored_mm3
    false = found.parts_sizes.size - np.unique(found.part).size
    counts = int((counted & matched).sum()), int(false), int((counted & ~matched).sum())
    if not sum(counts):
        return LesionScores(1.0, 0.0, *counts)
    distances = [found.hd95(lesion, spacing_mm, known_hd95_mm) for lesion in np.flatnonzero(counted & matched)]
    distances += [rules.penalty_hd95_mm] * (counts[1] + counts[2])
    return LesionScores(float(dice[counted].sum()) / sum(counts), math.fsum(distances) / sum(counts), *counts)


@dataclass(frozen=True)
class _Lesions:
    """Lesions of the truth and parts of the prediction, numbered from 1 in their volumes, from 0 in the arrays.

    ``lesion`` and ``part`` say pair by pair which belong together.
    """

    lesions: np.ndarray
    parts: np.ndarray
    sizes: np.ndarray
    parts_sizes: np.ndarray
    overlaps: np.ndarray
    lesion: np.ndarray
    part: np.ndarray

    @classmethod
    def find(cls, predicted: np.ndarray, true: np.ndarray, rules: LesionRules) -> _Lesions:
        box = _union_box(predicted, true)
        predicted, true = predicted[box], true[box]
        parts, part_count = ndimage.label(predicted, ALL_NEIGHBOURS)
        # To scipy 0 iterations mean: until nothing changes any more.
        grown = ndimage.binary_dilation(true, _REACH, rules.dilation) if rules.dilation else true
        halos, count = ndimage.label(grown, ALL_NEIGHBOURS)
        lesions = np.where(true, halos, 0)
        touched = predicted & grown
        pairs = np.unique(halos[touched] * np.int64(part_count + 1) + parts[touched])
        lesion, part = np.divmod(pairs, part_count + 1)
        sizes, overlaps = (_sizes(lesions[mask], count) for mask in (true, predicted & true))
        return cls(lesions, parts, sizes, _sizes(parts[predicted], part_count), overlaps, lesion - 1, part - 1)

    def matched(self) -> np.ndarray:
        """Which lesions have a part."""
        return np.isin(np.arange(self.sizes.size), self.lesion)

    def dice(self) -> np.ndarray:
        """Dice of every lesion with all its parts."""
        predicted = np.bincount(self.lesion, self.parts_sizes[self.part], self.sizes.size)
        return 2 * self.overlaps / (self.sizes + predicted)

    def hd95(self, lesion: int, spacing_mm: Sequence[float], of_all: float | None) -> float:
        """HD95 of a lesion with all its parts; ``of_all`` if that is everything there is."""
        own = np.zeros(self.parts_sizes.size + 1, bool)
        own[self.part[self.lesion == lesion] + 1] = True
        if of_all is not None and self.sizes.size == 1 and own[1:].all():
            return of_all
        return hd95_mm(own[self.parts], self.lesions == lesion + 1, spacing_mm)


def _sizes(numbers: np.ndarray, count: int) -> np.ndarray:
    """How often each of the numbers 1 to ``count`` occurs."""
    return np.bincount(numbers, minlength=count + 1)[1:]


def _union_box(predicted: np.ndarray, true: np.ndarray) -> tuple[slice, ...]:
    """Smallest box around both masks.

    Dilation in the box joins what dilation in the image joins: a path through voxels outside, pressed onto the box's
    faces, is a path inside.
    """
    found = ndimage.find_objects((predicted | true).view(np.uint8))
    return found[0] if found else (slice(0, 0),) * true.ndim
