# SPDX-License-Identifier: Apache-2.0
"""Layers whose inside is computed again in the backward pass instead of kept (Chen et al. 2016, arXiv:1604.06174)."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from fedpac_me.model.experts import Speaker


def recomputed(layer: nn.Module, x: torch.Tensor, speaker: Speaker) -> torch.Tensor:
    """``layer(x)``, both BCDHW, of which only ``x`` is kept for the gradient; ``speaker`` is the network's.

    Not for a layer that counts what passes, such as batch normalisation: it would count twice.
    """
    expert, gates = speaker.expert, speaker.gates

    def as_now(x: torch.Tensor) -> torch.Tensor:
        # By the time of the backward pass another expert may have spoken for another part of the batch.
        speaker.expert, speaker.gates = expert, gates
        return layer(x)

    return checkpoint(as_now, x, use_reentrant=False)
