# SPDX-License-Identifier: Apache-2.0
"""FedRep (Collins et al. 2021, algorithm 1): first a site's own last layer learns, then everything that is shared.

``model.own: last_layer`` is what makes that layer the site's own; with it alone both learn together, which is FedPer
(Arivazhagan et al. 2019). The steps of the last layer are cheap: no gradient goes through the network.
"""

from __future__ import annotations

from fedpac_me.learning.algorithms.algorithm import Algorithm
from fedpac_me.learning.site_state import SiteState
from fedpac_me.model.backbone import SegmentationNet
from fedpac_me.model.own import is_own


class FedRep(Algorithm):
    """Lets either the site's own parameters learn or the shared ones."""

    def __init__(self, model: SegmentationNet, head_steps: int) -> None:
        """``head_steps``: of every round, those in which the own parameters learn."""
        super().__init__(model)
        self.head_steps = head_steps
        # What never learns, such as a scale that the experts replace, shall not begin to.
        self._learning = {name: value for name, value in model.named_parameters() if value.requires_grad}

    def begin(self, state: SiteState | None) -> None:
        """See ``Algorithm``."""
        for value in self._learning.values():
            value.requires_grad_(True)

    def begin_step(self, number: int) -> None:
        """See ``Algorithm``."""
        for name, value in self._learning.items():
            value.requires_grad_(is_own(name) == (number < self.head_steps))
