# SPDX-License-Identifier: Apache-2.0
"""FedProx (Li et al. 2020, equation 2): a round stays near the model that was received.

h(w) = F(w) + μ/2 |w - wᵗ|². The second term is added as its gradient, μ (w - wᵗ), after clipping: it is known exactly,
and clipping is for the noise of the data's. What has no gradient in a step, such as an expert that did not speak, is
left alone, and so is what a site keeps to itself. Costs one more copy of the weights, and no pass through the network.
"""

from __future__ import annotations

import torch

from fedpac_me.learning.algorithms.algorithm import Algorithm
from fedpac_me.learning.site_state import SiteState
from fedpac_me.model.backbone import SegmentationNet
from fedpac_me.model.own import is_own


class FedProx(Algorithm):
    """Pulls the shared parameters towards where they were when the round began."""

    def __init__(self, model: SegmentationNet, weight: float) -> None:
        """``weight``: μ."""
        super().__init__(model)
        self.weight = weight
        self._anchor: dict[str, torch.Tensor] = {}

    def begin(self, state: SiteState | None) -> None:
        """See ``Algorithm``."""
        shared = ((name, value) for name, value in self.model.named_parameters() if not is_own(name))
        self._anchor = {name: value.detach().clone() for name, value in shared}

    def adjust_gradients(self) -> None:
        """See ``Algorithm``."""
        for name, value in self.model.named_parameters():
            if value.grad is not None and name in self._anchor:
                value.grad.add_(value.detach() - self._anchor[name], alpha=self.weight)
