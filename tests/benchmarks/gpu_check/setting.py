# SPDX-License-Identifier: Apache-2.0
"""On what the parts of the check are measured: device, sizes, how often."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fedpac_me.config import Config, load_config, merged
from fedpac_me.data.crops import Batch
from fedpac_me.labels import MODALITIES, REGIONS
from full_size_cases import SHAPE

CONFIG = Path(__file__).parents[3] / "app_configs/fedpac_me_gpu.json"
_PLAIN = {
    "model": {"experts": 1, "adapter_rank": 0, "own": "nothing"},
    "contrast": {"prototype_weight": 0.0, "view_weight": 0.0},
}


@dataclass(frozen=True)
class Setting:
    """``changes`` are laid over ``app_configs/fedpac_me_gpu.json``; ``shape`` (DHW, voxels) is a whole scan's.

    ``steps`` are in one turn of a measurement, which has ``repeats`` turns.
    """

    device: torch.device
    changes: dict[str, Any] = field(default_factory=dict)
    filters: tuple[int, ...] = (16, 32)
    shape: tuple[int, int, int] = SHAPE
    cases: int = 3
    steps: int = 20
    repeats: int = 5
    compiles: bool = True

    def method(self, changes: dict[str, Any] | None = None) -> Config:
        """The whole method, with more ``changes``."""
        return load_config(CONFIG, merged(self.changes, changes or {}))

    def plain(self, changes: dict[str, Any] | None = None) -> Config:
        """The same backbone, trained plainly: one expert, no contrastive loss, nothing of a site's own."""
        return self.method(merged(_PLAIN, changes or {}))

    def batches(self, config: Config) -> list[Batch]:
        """``steps`` batches of random crops on the CPU, the same every time, of which a third is tumour."""
        generator = torch.Generator().manual_seed(0)
        shape = (config.learning.batch, len(MODALITIES), *(config.data.crop,) * 3)
        few = [self._batch(torch.randn(shape, generator=generator), step, config) for step in range(4)]
        return [few[step % len(few)] for step in range(self.steps)]

    @staticmethod
    def _batch(image: torch.Tensor, step: int, config: Config) -> Batch:
        present = torch.ones(image.shape[:2])
        regions = (image[:, : len(REGIONS)] > 0.43).float()
        experts = (step % config.model.experts,) * len(image) if config.model.experts > 1 else ()
        views = bool(config.contrast.view_weight)
        return Batch(image, present, regions, experts, None, image + 0.1 if views else None, present if views else None)
