# SPDX-License-Identifier: Apache-2.0
"""What one predicted case scores, by the conventions of BraTS 2020, beside what predicting nothing would score."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance

from fedpac_me.errors import InputError
from fedpac_me.labels import LABELS, REGION_LABELS, REGIONS, regions_from_labels

MISSED_HD95_MM = 373.12866
"""HD95 when one side is empty: the diagonal of BraTS's 240 x 240 x 155 mm image, sqrt(240² + 240² + 155²)."""

CONVENTION = (
    "BraTS 2020: a region absent from truth and prediction scores Dice 1 and HD95 0; "
    "present in only one of them, Dice 0 and HD95 373.13 mm"
)
HD95_DEFINITION = (
    "HD95 as MONAI defines it: the larger of the two directed 95th percentiles of the distance between border voxels"
)

METRICS = (
    *(f"{metric}_{region}" for metric in ("dice", "hd95") for region in REGIONS),
    *(f"{metric}_{region}" for metric in ("truth_voxels", "predicted_voxels") for region in REGIONS),
    "voxel_accuracy",
    *(f"null_dice_{region}" for region in REGIONS),
    "null_voxel_accuracy",
)
"""The keys of ``case_metrics``, in order."""

_CODES = max(LABELS) + 1


def case_metrics(
    prediction: np.ndarray, truth: np.ndarray, spacing_mm: Sequence[float] = (1.0, 1.0, 1.0)
) -> dict[str, float | int]:
    """Score one label volume (DHW, BraTS labels 0, 1, 2, 4) against the truth on the same grid.

    Dice is 2|P∩T| / (|P|+|T|) from integer counts. HD95, in millimetres, is MONAI's
    (``monai.metrics.compute_hausdorff_distance``, percentile 95): the larger of the two directed 95th percentiles over
    unweighted border voxels; the BraTS 2023 script and MedPy define other numbers. Empty regions: see ``CONVENTION``.
    ``voxel_accuracy`` is the share of all voxels, background included, that carry the right label. ``null_…`` is what a
    prediction without any tumour would score on this case.

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
    scores: dict[str, float | int] = {}
    for region, hd95 in zip(REGIONS, _hd95(predicted, true, spacing_mm), strict=True):
        overlap, predicted_count, true_count = _counts(confusion, region)
        scores[f"dice_{region}"] = dice(overlap, predicted_count, true_count)
        scores[f"hd95_{region}"] = hd95
        scores[f"truth_voxels_{region}"] = true_count
        scores[f"predicted_voxels_{region}"] = predicted_count
        scores[f"null_dice_{region}"] = dice(0, 0, true_count)
    scores["voxel_accuracy"] = int(np.trace(confusion)) / true.size
    scores["null_voxel_accuracy"] = int(confusion[0].sum()) / true.size
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


def _hd95(predicted: np.ndarray, true: np.ndarray, spacing_mm: Sequence[float]) -> list[float]:
    """HD95 of each region in millimetres, in the order of ``REGIONS``."""
    box = _tumour_box(predicted, true)
    pairs = zip(regions_from_labels(predicted[box]), regions_from_labels(true[box]), strict=True)
    return [_region_hd95(*pair, spacing_mm) for pair in pairs]


def _region_hd95(predicted: np.ndarray, true: np.ndarray, spacing_mm: Sequence[float]) -> float:
    if not (predicted.any() and true.any()):
        return MISSED_HD95_MM if predicted.any() or true.any() else 0.0
    masks = (torch.from_numpy(mask[None, None]) for mask in (predicted, true))
    spacing = [float(edge) for edge in spacing_mm]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI 1.6 calls itself by an argument it has deprecated
        distance = compute_hausdorff_distance(*masks, include_background=True, percentile=95, spacing=spacing)
    return float(distance.item())


def _tumour_box(predicted: np.ndarray, true: np.ndarray) -> tuple[slice, ...]:
    """Smallest box around both tumours with one voxel to spare, so that a border voxel stays one.

    The margin ends at the image's edge, beyond which MONAI sees background as well: cropping changes no distance.
    """
    tumour = (predicted | true) != 0
    box = []
    for axis in range(tumour.ndim):
        others = tuple(other for other in range(tumour.ndim) if other != axis)
        inside = np.flatnonzero(tumour.any(axis=others))
        box.append(slice(max(inside[0] - 1, 0), inside[-1] + 2) if inside.size else slice(0, 1))
    return tuple(box)
