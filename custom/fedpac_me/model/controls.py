# SPDX-License-Identifier: Apache-2.0
"""Control variates in a network: one buffer beside every shared parameter that learns, for SCAFFOLD.

Being buffers they travel, are saved and are loaded with the network. An expert's lie with the expert, so they are
merged with it; what a site keeps to itself has none.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from fedpac_me.federation.schema import CONTROL
from fedpac_me.model.own import is_own


def give_controls(network: nn.Module) -> None:
    """Put them in, all 0."""
    for path, module in network.named_modules():
        for name, value in module.named_parameters(recurse=False):
            if value.requires_grad and not is_own(f"{path}.{name}"):
                module.register_buffer(name + CONTROL, torch.zeros_like(value))


def controlled(network: nn.Module) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """Name, parameter and control variate of every parameter that has one."""
    controls = dict(network.named_buffers())
    for name, value in network.named_parameters():
        if name + CONTROL in controls:
            yield name, value, controls[name + CONTROL]


def drop_controls(network: nn.Module) -> None:
    """Take them out of a network that is not trained any more."""
    for module in network.modules():
        for name in [name for name, _ in module.named_buffers(recurse=False) if name.endswith(CONTROL)]:
            delattr(module, name)
