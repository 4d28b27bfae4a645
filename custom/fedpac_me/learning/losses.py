# SPDX-License-Identifier: Apache-2.0
"""The segmentation loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from monai.losses import DiceLoss
from torch import nn
from torch.nn import functional


def _itself(count: torch.Tensor) -> torch.Tensor:
    return count


@dataclass(frozen=True)
class Whole:
    """The batch of which a loss sees a part: one of ``parts`` equal ones, whose losses add up to that of the batch.

    ``total`` adds a count, which carries no gradient, up over the parts.
    """

    parts: int = 1
    total: Callable[[torch.Tensor], torch.Tensor] = _itself


ALONE = Whole()
"""What is seen is the whole batch."""


class RegionLoss(nn.Module):
    """Soft Dice over the regions that exist, plus binary cross-entropy over all.

    Plain soft Dice charges about 1 for a region that is absent and correctly not predicted, which teaches a
    site with low-grade tumours to invent enhancement. Here the Dice term averages over the (sample, region)
    pairs whose truth is not empty; absent regions are taught by the cross-entropy alone.
    """

    def __init__(self, whole: Whole = ALONE) -> None:
        super().__init__()
        self.whole = whole
        self.dice = DiceLoss(sigmoid=True, reduction="none", smooth_nr=1e-5, smooth_dr=1e-5)

    def forward(self, logits: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
        """Loss of ``logits`` against ``regions`` (both BCDHW, channels as ``REGIONS``, truth 0 or 1).

        Of a part: its share in the loss of the whole batch.
        """
        logits, regions = logits.float(), regions.float()
        exists = regions.amax((2, 3, 4))
        dice = (self.dice(logits, regions).flatten(1) * exists).sum() / self.whole.total(exists.sum()).clamp_min(1)
        return dice + functional.binary_cross_entropy_with_logits(logits, regions) / self.whole.parts
