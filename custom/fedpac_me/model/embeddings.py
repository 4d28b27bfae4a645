# SPDX-License-Identifier: Apache-2.0
"""PACM, the perspective-aware contrast module: decoder features become one unit vector a region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

MIN_MASS = 0.75
"""Voxels of the finest feature map looked at that a region must fill: fewer do not make a mean of anything."""

CONTRAST_LEVELS = 2
"""The coarsest decoder levels, which are looked at; pooling at full resolution would cost more than all the rest."""

_HIDDEN = 64
_EPSILON = 1e-6


@dataclass(frozen=True)
class Embeddings:
    """``vectors`` (B, R, D), each of length 1, R as ``CONTRAST_REGIONS``; ``valid`` (B, R) bool: the region is there.

    What an invalid vector holds is finite but means nothing.
    """

    vectors: Tensor
    valid: Tensor


def region_masks(image: Tensor, regions: Tensor, size: Sequence[int] | None = None) -> Tensor:
    """Masks (BRDHW, float, R as ``CONTRAST_REGIONS``): brain without tumour, WT - TC, TC - ET, ET.

    Args:
        image: BCDHW; a voxel is brain where any modality differs from 0.
        regions: BCDHW, channels as ``labels.REGIONS`` (TC, WT, ET), 0 or 1, each within the next larger one.
        size: average the masks down to this (D, H, W).
    """
    brain = (image.abs().amax(1, keepdim=True) > 0).to(regions.dtype)
    outer = torch.maximum(brain, regions[:, 1:2])
    if size is not None:
        # Averages of differences are differences of averages, which are cheaper.
        outer, regions = (functional.adaptive_avg_pool3d(masks, size) for masks in (outer, regions))
    core, whole, enhancing = regions.unbind(1)
    return torch.stack([outer[:, 0] - whole, whole - core, core - enhancing, enhancing], dim=1)


class RegionEmbedder(nn.Module):
    """PACM: features averaged over a region at every level, then a small projection head, then length 1.

    Its parameters must be the same at all sites, so they belong to the model that travels: vectors of two heads that
    were trained apart cannot be compared, and their mean is no prototype.
    """

    def __init__(self, channels: Sequence[int], dimension: int) -> None:
        """``channels`` of the levels that it will see, from coarse to fine; ``dimension`` of an embedding."""
        super().__init__()
        self.levels = len(channels)
        self.project = nn.Sequential(nn.Linear(sum(channels), _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, dimension))

    def forward(self, features: Sequence[Tensor], masks: Tensor) -> Embeddings:
        """Embeddings of ``features`` (each BCDHW, from coarse to fine) over ``masks`` (BRDHW, no coarser than those).

        Computed in float32, whatever autocast says: a mean over thousands of voxels needs the digits.
        """
        with torch.autocast(masks.device.type, enabled=False):
            # The masks need no gradient: that of adaptive pooling would not be deterministic on CUDA.
            masks = _averaged(in_full(masks.detach()), features[-1].shape[2:])
            valid = masks.sum((2, 3, 4)) >= MIN_MASS
            pooled = []
            # From fine to coarse, so that each pooling starts from the last one and not from full resolution.
            for level in reversed(features):
                masks = _averaged(masks, level.shape[2:])
                pooled.append(_means(in_full(level), masks))
            vectors = self.project(torch.cat(pooled[::-1], dim=2))
            return Embeddings(functional.normalize(vectors, dim=2, eps=_EPSILON), valid)


def _averaged(masks: Tensor, size: Sequence[int]) -> Tensor:
    # Pooling to the same size would be a slow copy.
    return masks if masks.shape[2:] == size else functional.adaptive_avg_pool3d(masks, size)


def _means(level: Tensor, masks: Tensor) -> Tensor:
    """Mean features (B, R, C) of ``level`` (BCDHW) under ``masks`` (BRDHW)."""
    # A view in either memory format, unlike level.flatten(2).
    voxels = level.permute(0, 2, 3, 4, 1).flatten(1, 3)
    weights = masks.flatten(2)
    return weights @ voxels / weights.sum(2, keepdim=True).clamp_min(_EPSILON)


def in_full(value: Tensor) -> Tensor:
    """At least float32."""
    return value.to(torch.promote_types(value.dtype, torch.float32))
