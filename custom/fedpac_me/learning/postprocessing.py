# SPDX-License-Identifier: Apache-2.0
"""What is left out of a predicted segmentation: parts too small to be lesions.

BraTS gives Dice 0 where the truth has no enhancing tumour and a prediction has one voxel of it, and counts every stray
part as a false lesion. Its participants leave out small parts therefore; Isensee et al., "nnU-Net for Brain Tumor
Segmentation", 2020, do it to enhancing tumour as a whole, here it is done to each connected part of each region.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from fedpac_me.evaluation.lesions import ALL_NEIGHBOURS
from fedpac_me.labels import labels_from_regions, regions_from_labels


def without_small_parts(labels: np.ndarray, spacing_mm: Sequence[float], largest_mm3: float) -> np.ndarray:
    """Label volume (DHW uint8) without its regions' parts of up to ``largest_mm3``; 0 leaves it as it is.

    A part is 26-connected, as in lesion-wise scores. What it was becomes what is around it in the order of the regions:
    enhancing tumour becomes core, core becomes oedema, and whole tumour nothing.
    """
    tumour = ndimage.find_objects((labels > 0).view(np.uint8))
    if not tumour or largest_mm3 == 0:
        return labels
    most_voxels = largest_mm3 / math.prod(spacing_mm)
    kept = labels.copy()
    kept[tumour[0]] = labels_from_regions(
        np.stack([_large_parts(region, most_voxels) for region in regions_from_labels(labels[tumour[0]])])
    )
    return kept


def _large_parts(region: np.ndarray, most_voxels: float) -> np.ndarray:
    parts, _ = ndimage.label(region, ALL_NEIGHBOURS)
    large = np.bincount(parts.ravel()) > most_voxels
    return region & large[parts]
