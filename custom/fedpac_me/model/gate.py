# SPDX-License-Identifier: Apache-2.0
"""What gradient may add to the router's frozen keys: weights of the style's figures, or a hospital's own leaning.

A score of an expert e is s_e = d_e² / R² - b_e, the smallest wins: d_e² is the mean squared difference from key e, each
figure weighted by exp(a); R is the mean radius; a is shared and travels, b belongs to one hospital and never leaves it.
With a = 0 and b = 0 the order is that of the distances.
"""

from __future__ import annotations

import torch
from torch import nn

SOFTNESS = 4.0
"""Gates are softmax(-``SOFTNESS`` · s), so that a key twice as far as a near one hardly speaks."""


class Gate(nn.Module):
    """The learned part of a router; ``kind`` is "figures" (a) or "own_bias" (b)."""

    def __init__(self, kind: str, experts: int, figures: int) -> None:
        super().__init__()
        self.attention = nn.Parameter(torch.zeros(figures)) if kind == "figures" else None
        self.own = Leaning(experts) if kind == "own_bias" else None

    def scores(
        self,
        styles: torch.Tensor,
        known: torch.Tensor,
        keys: torch.Tensor,
        keys_known: torch.Tensor,
        radius: torch.Tensor,
    ) -> torch.Tensor:
        """Scores (n, E) of standardised ``styles`` (n, S), ``known`` (n, S, 1 or 0), by ``keys`` (E, S) alike."""
        weight = known[:, None] * keys_known[None]
        if self.attention is not None:
            weight = weight * self.attention.exp().to(weight)
        total = weight.sum(2)
        squares = (weight * (styles[:, None] - keys[None]).square()).sum(2)
        # A key that shares no figure with the scan is no neighbour at all.
        scores = torch.where(total > 0, squares / total.clamp_min(torch.finfo(total.dtype).tiny), torch.inf) / radius**2
        return scores if self.own is None else scores - self.own.bias.to(scores)


class Leaning(nn.Module):
    """A hospital's own ``bias`` (E) towards some experts."""

    def __init__(self, experts: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(experts))
