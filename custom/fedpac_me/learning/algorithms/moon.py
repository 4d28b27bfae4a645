# SPDX-License-Identifier: Apache-2.0
"""MOON (Li, He and Song 2021, equations 3 and 4): features stay near the received model's, away from the last local's.

l = -log( exp(cos(z, z_received)/τ) / (exp(cos(z, z_received)/τ) + exp(cos(z, z_previous)/τ)) ), times μ. z is the mean
over a crop's voxels of the coarsest decoder level; the paper's projection head is left out, there is nothing else that
a segmentation network would need it for. In a site's first round there is no previous model, and no such loss: with
the received one in its place the gradient would be 0.

Cost: two more passes without gradient a step, through encoder and coarsest decoder level, two more networks in memory,
and one on disk.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from fedpac_me.data.crops import Batch
from fedpac_me.learning.algorithms.algorithm import Algorithm
from fedpac_me.learning.site_state import SiteState
from fedpac_me.model.backbone import SegmentationNet
from fedpac_me.model.router import Routing

_PREVIOUS = "previous"


class Moon(Algorithm):
    """Adds the model-contrastive loss; keeps the model that the site's last round ended with."""

    def __init__(self, model: SegmentationNet, weight: float, temperature: float) -> None:
        """``weight``: μ; ``temperature``: τ."""
        super().__init__(model)
        self.weight = weight
        self.temperature = temperature
        self._received: SegmentationNet | None = None
        self._previous: SegmentationNet | None = None

    def begin(self, state: SiteState | None) -> None:
        """See ``Algorithm``."""
        self._received = self._previous = None
        if state is not None and _PREVIOUS in state.algorithm:
            self._received = copy.deepcopy(self.model).eval()
            self._previous = copy.deepcopy(self._received)
            self._previous.load_state_dict(state.algorithm[_PREVIOUS])

    def losses(
        self, batch: Batch, features: Sequence[torch.Tensor], routes: Sequence[Routing]
    ) -> dict[str, torch.Tensor]:
        """See ``Algorithm``."""
        if self._received is None or self._previous is None:
            return {}
        with torch.no_grad():
            received, previous = (
                _pooled(model.coarse_features(batch.image, batch.present, routes, levels=1))
                for model in (self._received, self._previous)
            )
        return {"moon": self.weight * model_contrast(_pooled(features), received, previous, self.temperature)}

    def kept(self) -> dict[str, Any]:
        """See ``Algorithm``."""
        return {_PREVIOUS: self.model.state_dict()}


def model_contrast(
    features: torch.Tensor, received: torch.Tensor, previous: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Mean of l over the batch, from the features (BC) of the three models."""
    near, far = (functional.cosine_similarity(features, other) / temperature for other in (received, previous))
    return functional.softplus(far - near).mean()


def _pooled(features: Sequence[torch.Tensor]) -> torch.Tensor:
    """The coarsest level, averaged over voxels (BC), in full precision."""
    return features[0].float().mean((2, 3, 4))
