# SPDX-License-Identifier: Apache-2.0
"""Modalities, labels and regions of BraTS, and their one order everywhere."""

from __future__ import annotations

import numpy as np

MODALITIES = ("t1", "t1ce", "t2", "flair")
"""Channel order of every image tensor."""

NECROTIC, OEDEMA, ENHANCING = 1, 2, 4
LABELS = (0, NECROTIC, OEDEMA, ENHANCING)
"""BraTS up to 2022: background, necrotic or non-enhancing core, oedema, enhancing tumour."""

REGION_LABELS = {
    "TC": (NECROTIC, ENHANCING),
    "WT": (NECROTIC, OEDEMA, ENHANCING),
    "ET": (ENHANCING,),
}
REGIONS = tuple(REGION_LABELS)
"""Channel order of every region tensor: tumour core, whole tumour, enhancing tumour (MONAI's order)."""


def regions_from_labels(labels: np.ndarray) -> np.ndarray:
    """Turn a label volume (DHW) into region masks (CDHW, bool), channels in the order of ``REGIONS``."""
    return np.stack([np.isin(labels, REGION_LABELS[region]) for region in REGIONS])


def labels_from_regions(regions: np.ndarray) -> np.ndarray:
    """Turn region masks (CDHW, channels as ``REGIONS``) into one label volume (DHW, uint8).

    Inner regions win: enhancing over core over whole tumour, so overlapping predictions stay consistent.
    """
    core, whole, enhancing = (np.asarray(channel, dtype=bool) for channel in regions)
    labels = np.zeros(core.shape, dtype=np.uint8)
    labels[whole] = OEDEMA
    labels[core] = NECROTIC
    labels[enhancing] = ENHANCING
    return labels
