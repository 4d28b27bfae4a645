# SPDX-License-Identifier: Apache-2.0
"""The algorithm that a configuration names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fedpac_me.config import Config
from fedpac_me.learning.algorithms.algorithm import Algorithm
from fedpac_me.learning.algorithms.ditto import Ditto
from fedpac_me.learning.algorithms.fedprox import FedProx
from fedpac_me.learning.algorithms.fedrep import FedRep
from fedpac_me.learning.algorithms.moon import Moon
from fedpac_me.learning.algorithms.scaffold import Scaffold
from fedpac_me.model.backbone import SegmentationNet

if TYPE_CHECKING:
    from fedpac_me.learning.ranks import Ranks


def chosen_algorithm(
    model: SegmentationNet, config: Config, device: torch.device, ranks: Ranks | None = None
) -> Algorithm:
    """The one of ``config.algorithm``, for a site that trains ``model``, where there are several by ``ranks``."""
    asked = config.algorithm
    made = {
        "none": lambda: Algorithm(model),
        "fedprox": lambda: FedProx(model, asked.proximal_weight),
        "scaffold": lambda: Scaffold(model),
        "ditto": lambda: Ditto(model, config, device, ranks),
        "fedrep": lambda: FedRep(model, asked.head_steps),
        "moon": lambda: Moon(model, asked.contrast_weight, asked.temperature),
    }
    return made[asked.name]()
