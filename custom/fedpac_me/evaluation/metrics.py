# SPDX-License-Identifier: Apache-2.0
"""What one predicted case scores, by the conventions of BraTS 2020, beside what predicting nothing would score.

Lesion by lesion, and in sensitivity and specificity, it is scored by the conventions of BraTS 2023.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fedpac_me.errors import InputError
from fedpac_me.evaluation.lesions import lesion_scores
from fedpac_me.evaluation.surface import hd95_mm, tight_box
from fedpac_me.labels import LABELS, REGION_LABELS, REGIONS, regions_from_labels

MISSED_HD95_MM = 373.12866
"""HD95 when one side is empty: the diagonal of BraTS's 240 x 240 x 155 mm image, sqrt(240² + 240² + 155²)."""

CONVENTION = (
    "BraTS 2020: a region absent from truth and prediction scores Dice 1 and HD95 0; "
    "present in only one of them, Dice 0 and HD95 373.13 mm"
)

BASIC_METRICS = (
    *(f"{metric}_{region}" for metric in ("dice", "hd95") for region in REGIONS),
    *(f"{metric}_{region}" for metric in ("truth_voxels", "predicted_voxels") for region in REGIONS),
    "voxel_accuracy",
    *(f"null_dice_{region}" for region in REGIONS),
    "null_voxel_accuracy",
)
"""What every run's cases have; those evaluated before there were lesion-wise figures have nothing else."""

_FURTHER = (
    "sensitivity", "specificity", "volume_error", "lesion_dice", "lesion_hd95", "lesion_tp", "lesion_fp", "lesion_fn",
)  # fmt: skip
METRICS = (*BASIC_METRICS, *(f"{metric}_{region}" for metric in _FURTHER for region in REGIONS))
"""The keys of ``case_metrics``, in order."""

_CODES = max(LABELS) + 1
_MM3_PER_ML = 1000


def case_metrics(
    prediction: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float] = (1.0, 1.0, 1.0)
) -> dict[str, float | int]:
    """Score one label volume (DHW, BraTS labels 0, 1, 2, 4) against the truth on the same grid.

    Dice is 2|P∩T| / (|P|+|T|) from integer counts. HD95, in millimetres, is MONAI's
    (``monai.metrics.compute_hausdorff_distance``, percentile 95): the larger of the two directed 95th percentiles over
    unweighted border voxels; the BraTS 2023 script and MedPy define other numbers. Empty regions: see ``CONVENTION``.
    ``voxel_accuracy`` is the share of all voxels, background included, that carry the right label. ``null_…`` is what a
    prediction without any tumour would score on this case.

    ``sensitivity`` |P∩T| / |T| and ``specificity`` (of the voxels outside T, the share that P leaves alone) are those
    of the BraTS 2023 script: where T is empty, sensitivity is 1 if P is empty and 0 if it is not; specificity counts
    the whole volume, so it is near 1 for everyone, and 1 where T fills it. ``volume_error`` is |P| - |T| in
    millilitres, positive where too much was predicted. ``lesion_…``: see ``lesions``; tp, fp and fn are counts.

    Args:
        prediction: labels, DHW.
        truth: labels, DHW.
        spacing_mm: voxel edge along each axis of the arrays, in millimetres.

    Returns:
        Builtins only, with the keys of ``METRICS``.

    Raises:
        InputError: the shapes differ, are not 3-D, hold no voxel, or a label is not BraTS's.
    """
    predicted, true = _as_labels(prediction, "prediction"), _as_labels(truth, "truth")
    if predicted.shape != true.shape:
        raise InputError(
            f"The prediction has shape {predicted.shape}, the truth {true.shape}; they must share one grid."
        )
    confusion = _confusion(predicted, true)
    scores: dict[str, float | int] = {
        "voxel_accuracy": int(np.trace(confusion)) / true.size,
        "null_voxel_accuracy": int(confusion[0].sum()) / true.size,
    }
    box = tight_box((predicted | true) != 0)
    masks = zip(regions_from_labels(predicted[box]), regions_from_labels(true[box]), strict=True)
    for region, pair in zip(REGIONS, masks, strict=True):
        found = _overlap_scores(*_counts(confusion, region), true.size, math.prod(spacing_mm))
        found |= _shape_scores(*pair, spacing_mm)
        scores |= {f"{metric}_{region}": value for metric, value in found.items()}
    return {name: scores[name] for name in METRICS}


def region_dice(prediction: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Dice of each region from two label volumes (DHW) on one grid: the quick score of a validation."""
    confusion = _confusion(_as_labels(prediction, "prediction"), _as_labels(truth, "truth"))
    return {region: dice(*_counts(confusion, region)) for region in REGIONS}


def dice(overlap: int, predicted: int, true: int) -> float:
    """Dice coefficient from voxel counts; 1 when both masks are empty (BraTS 2020)."""
    return 2 * overlap / (predicted + true) if predicted + true else 1.0


def _as_labels(volume: np.ndarray, name: str) -> np.ndarray:
    """The volume as uint8, refused if a value is not a BraTS label."""
    volume = np.asarray(volume)
    if volume.ndim != 3 or volume.size == 0:
        raise InputError(f"The {name} must be a 3-D label volume, not one of shape {volume.shape}.")
    known = volume == LABELS[0]
    for label in LABELS[1:]:
        known |= volume == label
    if not known.all():
        strange = ", ".join(str(value) for value in np.unique(volume[~known])[:5])
        raise InputError(
            f"The {name} holds {strange}; the labels of BraTS up to 2022 are {LABELS} (2023: 3 becomes 4)."
        )
    return volume.astype(np.uint8, copy=False)


def _confusion(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Voxel counts [true label, predicted label], from which every overlap follows exactly."""
    pairs = true * np.uint8(_CODES) + predicted
    return np.bincount(pairs.ravel(), minlength=_CODES**2).reshape(_CODES, _CODES)


def _counts(confusion: np.ndarray, region: str) -> tuple[int, int, int]:
    """Voxels of a region in both volumes, in the prediction and in the truth."""
    labels = list(REGION_LABELS[region])
    both = confusion[np.ix_(labels, labels)]
    return int(both.sum()), int(confusion[:, labels].sum()), int(confusion[labels].sum())


def _overlap_scores(overlap: int, predicted: int, true: int, voxels: int, voxel_mm3: float) -> dict[str, float | int]:
    """What voxel counts of one region say."""
    background = voxels - true
    return {
        "dice": dice(overlap, predicted, true),
        "null_dice": dice(0, 0, true),
        "truth_voxels": true,
        "predicted_voxels": predicted,
        "sensitivity": overlap / true if true else float(predicted == 0),
        "specificity": (background - predicted + overlap) / background if background else 1.0,
        "volume_error": (predicted - true) * voxel_mm3 / _MM3_PER_ML,
    }


def _shape_scores(predicted: np.ndarray, true: np.ndarray, spacing_mm: Sequence[float]) -> dict[str, float | int]:
    """What the masks of one region say about surfaces and lesions."""
    hd95 = _region_hd95(predicted, true, spacing_mm)
    lesions = lesion_scores(predicted, true, spacing_mm, known_hd95_mm=hd95)
    return {
        "hd95": hd95,
        "lesion_dice": lesions.dice,
        "lesion_hd95": lesions.hd95_mm,
        "lesion_tp": lesions.true_positives,
        "lesion_fp": lesions.false_positives,
        "lesion_fn": lesions.false_negatives,
    }


def _region_hd95(predicted: np.ndarray, true: np.ndarray, spacing_mm: Sequence[float]) -> float:
    if predicted.any() and true.any():
        return hd95_mm(predicted, true, spacing_mm)
    return MISSED_HD95_MM if predicted.any() or true.any() else 0.0
