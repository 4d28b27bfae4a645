# SPDX-License-Identifier: Apache-2.0
"""What a hospital keeps of the network for itself: whatever lies in a module called ``own``."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from fedpac_me.labels import REGIONS


class OwnHead(nn.Module):
    """What a hospital adds to the last layer's bias: how likely each region is among its patients."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(len(REGIONS)))

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (BCDHW), shifted."""
        return logits + self.bias.to(logits.dtype)[None, :, None, None, None]


def is_own(name: str) -> bool:
    """Whether the tensor ``name`` is a hospital's own and never travels."""
    return "own" in name.split(".")


def own_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """What stays with the hospital; empty where the method has no such part."""
    return {name: value for name, value in model.state_dict().items() if is_own(name)}


def set_own_state(model: nn.Module, kept: Mapping[str, torch.Tensor]) -> None:
    """Give the network what a hospital kept."""
    with torch.no_grad():
        for name, value in own_state(model).items():
            value.copy_(kept[name])
