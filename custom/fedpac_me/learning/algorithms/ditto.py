# SPDX-License-Identifier: Apache-2.0
"""Ditto (Li et al. 2021, algorithm 1): beside the shared model every site trains one of its own, held near the shared.

The shared model learns as in federated averaging, to the byte where there is no dropout, whose draws the two share. The
own one, v, starts from the first model that the site receives and takes a step on each of the same batches, by
∇F(v) + λ (v - wᵗ); it never travels, and is the one that predicts at the site. A site that never trained has the shared
model. λ = 0: the own model is the one of a site that trains alone. Costs a second network and a second step a batch.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from fedpac_me.config import Config
from fedpac_me.data.crops import Batch
from fedpac_me.learning.algorithms.algorithm import Algorithm
from fedpac_me.learning.algorithms.fedprox import FedProx
from fedpac_me.learning.site_state import SiteState
from fedpac_me.learning.trainer import Trainer
from fedpac_me.model.backbone import SegmentationNet

if TYPE_CHECKING:
    from fedpac_me.learning.ranks import Ranks

_OPTIMIZER = "optimizer"


class Ditto(Algorithm):
    """Trains a second network by FedProx, whose anchor is the received model."""

    def __init__(
        self, model: SegmentationNet, config: Config, device: torch.device, ranks: Ranks | None = None
    ) -> None:
        """``config.algorithm.proximal_weight`` is λ; ``ranks`` share the batches of both networks."""
        super().__init__(model)
        own = copy.deepcopy(model)
        self._own = Trainer(own, config, device, FedProx(own, config.algorithm.proximal_weight), ranks)

    @property
    def speaker(self) -> SegmentationNet:
        """See ``Algorithm``."""
        return self._own.model

    def begin(self, state: SiteState | None) -> None:
        """See ``Algorithm``."""
        self._own.model.load_state_dict(self.model.state_dict())
        self._own.algorithm.begin(None)  # near the received model, before it becomes what the site kept
        if state is not None:
            self._own.model.load_state_dict(state.weights)
        self._own.restore(state.algorithm[_OPTIMIZER] if state is not None else None)

    def end_step(self, batch: Batch, step: int) -> None:
        """See ``Algorithm``."""
        self._own.model.train()
        self._own.step(batch, step)

    def own_weights(self) -> dict[str, torch.Tensor]:
        """See ``Algorithm``."""
        return self._own.model.state_dict()

    def kept(self) -> dict[str, Any]:
        """See ``Algorithm``."""
        return {_OPTIMIZER: self._own.optimizer.state_dict()}
