# SPDX-License-Identifier: Apache-2.0
"""Where an algorithm takes part in a site's round. This one, federated averaging, adds nothing anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from fedpac_me.data.crops import Batch
from fedpac_me.learning.site_state import SiteState
from fedpac_me.model.backbone import SegmentationNet
from fedpac_me.model.own import own_state
from fedpac_me.model.router import Routing


class Algorithm:
    """The hooks, in the order of a round; an algorithm overrides those that it needs."""

    def __init__(self, model: SegmentationNet) -> None:
        """``model`` is the network that is trained and whose shared part travels."""
        self.model = model

    @property
    def speaker(self) -> SegmentationNet:
        """The network that predicts at this site."""
        return self.model

    def begin(self, state: SiteState | None) -> None:
        """The model holds what was received, and its own part; ``state`` is what the site kept, if anything."""

    def begin_step(self, number: int) -> None:
        """Before step ``number`` (from 0) of the round."""

    def losses(
        self, batch: Batch, features: Sequence[torch.Tensor], routes: Sequence[Routing]
    ) -> dict[str, torch.Tensor]:
        """Terms to add to the loss, weighted, by name. ``features``: of ``model.with_features``."""
        return {}

    def adjust_gradients(self) -> None:
        """The gradients are there and clipped, the optimiser has not moved yet."""

    def end_step(self, batch: Batch, step: int) -> None:
        """The optimiser has moved; ``step`` counts from the beginning of the federation."""

    def end_round(self) -> None:
        """All steps are done; what the model holds now is sent, as a difference."""

    def own_weights(self) -> dict[str, torch.Tensor]:
        """What the site keeps of its network: ``SiteState.weights``."""
        return own_state(self.model)

    def kept(self) -> dict[str, Any]:
        """What else it keeps: ``SiteState.algorithm``, tensors and builtins only."""
        return {}
