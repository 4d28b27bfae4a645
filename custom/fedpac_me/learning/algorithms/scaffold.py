# SPDX-License-Identifier: Apache-2.0
"""SCAFFOLD (Karimireddy et al. 2020, algorithm 1): every step is corrected by how a site's gradient differs from all's.

The server's control variate c lies in the network, one buffer beside every shared parameter (``model.controls``), and
so travels and is merged like any other tensor: a site sends c_i⁺ - c, the merged c is the mean of the sites' c_i⁺. They
weigh as much as in the model's merge, by cases, so that the corrections c - c_i cancel there.

c_i⁺ is the mean of the round's gradients, clipped but not corrected. For SGD with a constant rate that is the paper's
option II, c_i - c + (x - y_i)/(Kη); unlike that, it still means a gradient where AdamW makes the step. Two differences
for sites that are not always there: c is the mean over the sites of the last round, not a running one over all, and a
site without c_i yet takes c for it, and so corrects nothing in its first round. What has no gradient in a step is not
corrected then, and a parameter's mean is over the steps in which it had one. Costs no pass; doubles what is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from fedpac_me.learning.algorithms.algorithm import Algorithm
from fedpac_me.learning.site_state import SiteState
from fedpac_me.model.controls import controlled

_CONTROL = "control"


class Scaffold(Algorithm):
    """Corrects gradients by c - c_i; keeps c_i; puts c_i⁺ where c was, so that the difference to c is sent."""

    def __init__(self, model: nn.Module) -> None:
        """``model`` has controls, see ``model.controls``."""
        super().__init__(model)
        self._mine: Mapping[str, torch.Tensor] = {}
        self._sums: dict[str, torch.Tensor] = {}
        self._steps: dict[str, int] = {}

    def begin(self, state: SiteState | None) -> None:
        """See ``Algorithm``."""
        self._mine = state.algorithm[_CONTROL] if state is not None else {}
        self._sums, self._steps = {}, {}

    @torch.no_grad()
    def adjust_gradients(self) -> None:
        """See ``Algorithm``."""
        for name, value, control in controlled(self.model):
            if value.grad is None:
                continue
            if name not in self._sums:
                self._sums[name], self._steps[name] = torch.zeros_like(control), 0
            self._sums[name] += value.grad
            self._steps[name] += 1
            value.grad += control - self._mine.get(name, control)

    @torch.no_grad()
    def end_round(self) -> None:
        """See ``Algorithm``."""
        for name, _, control in controlled(self.model):
            if name in self._sums:
                control.copy_(self._sums[name] / self._steps[name])

    def kept(self) -> dict[str, Any]:
        """See ``Algorithm``."""
        seen = {name: control for name, _, control in controlled(self.model) if name in self._sums}
        return {_CONTROL: {**self._mine, **seen}}
