# SPDX-License-Identifier: Apache-2.0
"""Distance between the surfaces of two masks, by MONAI's definition."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

HD95_DEFINITION = (
    "HD95 as MONAI defines it: the larger of the two directed 95th percentiles of the distance between border voxels"
)


def hd95_mm(predicted: np.ndarray, true: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """HD95 of two masks (DHW, bool, neither empty) in millimetres: see ``HD95_DEFINITION``."""
    # Here, not above: whoever writes a report needs the scores' names only, and these two take seconds to import.
    import torch
    from monai.metrics import compute_hausdorff_distance

    box = tight_box(predicted | true)
    masks = (torch.from_numpy(mask[box][None, None]) for mask in (predicted, true))
    spacing = [float(edge) for edge in spacing_mm]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI 1.6 calls itself by an argument it has deprecated
        distance = compute_hausdorff_distance(*masks, include_background=True, percentile=95, spacing=spacing)
    return float(distance.item())


def tight_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Smallest box around a mask with one voxel to spare, so that a border voxel stays one; one voxel if it is empty.

    The margin ends at the image's edge, beyond which MONAI sees background as well: cropping changes no distance.
    """
    box = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        inside = np.flatnonzero(mask.any(axis=others))
        box.append(slice(max(inside[0] - 1, 0), inside[-1] + 2) if inside.size else slice(0, 1))
    return tuple(box)
