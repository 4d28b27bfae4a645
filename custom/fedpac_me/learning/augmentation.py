# SPDX-License-Identifier: Apache-2.0
"""What happens to every training crop: perspectives, and a second view where one is compared."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import Transform

from fedpac_me.config import Config, PerspectivesConfig
from fedpac_me.data.crops import Augmentation, SampleChange
from fedpac_me.learning.perspectives import perspective_transforms


def crop_augmentation(config: Config) -> list[Augmentation]:
    """What happens to every training crop: MPA, and a second perspective of it where PACL compares two.

    Geometry comes before the second one begins: both perspectives must show the same place.
    """
    perspectives = config.perspectives
    if not config.contrast.view_weight:
        return perspective_transforms(perspectives)
    geometric = perspective_transforms(PerspectivesConfig(affine=perspectives.affine))
    return [
        *geometric,
        _SecondView(),
        *perspective_transforms(perspectives, labels=None),
        *perspective_transforms(perspectives, "second", "second_present", labels=None),
    ]


class _SecondView(Transform):
    """Names image and presence a second time. No copy: perspectives write nothing into what they are given."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        return {**data, "second": data["image"], "second_present": data["present"]}

    def drawn(self, shape: torch.Size, present: torch.Tensor) -> SampleChange:
        return self
