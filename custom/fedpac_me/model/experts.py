# SPDX-License-Identifier: Apache-2.0
"""Experts inside a network: each has its own batch normalisation and a low-rank addition to the convolutions.

An expert is an imaging style. The trunk (every convolution) is shared; expert e owns, in every normalisation layer, a
running mean and variance, a scale and a shift, and at every 3³ convolution but the first U_e A_e (rank r), added to
the centre tap: a 1×1×1 convolution that folds into the 3³ one. Names of what belongs to e hold ``experts.<e>.``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from fedpac_me.config import ModelConfig


@dataclass
class Speaker:
    """Who speaks for the batch at hand; one object shared by all expert layers of a network.

    ``expert`` alone while ``gates`` is ``None``; otherwise a mixture by ``gates`` (E, sums to 1), for inference. With
    ``by_batch`` the statistics of a batch normalisation are those of the batch at hand, outside of training too.
    """

    expert: int = 0
    gates: torch.Tensor | None = None
    by_batch: bool = False


Norm = nn.BatchNorm3d | nn.InstanceNorm3d


class ExpertNorm(nn.Module):
    """A batch or instance normalisation whose scale and shift are the trunk's plus an expert's.

    What all styles share is learned from all scans; an expert learns, from fewer, only in what its style differs.
    """

    def __init__(self, plain: Norm, config: ModelConfig, speaker: Speaker) -> None:
        super().__init__()
        self.weight, self.bias = plain.weight, plain.bias
        for shared in (self.weight, self.bias):
            shared.requires_grad_(config.shared_affine)
        self.eps, self.momentum = plain.eps, plain.momentum
        self.has_statistics = isinstance(plain, nn.BatchNorm3d)
        self.experts = nn.ModuleList(Style(plain.num_features, self.has_statistics) for _ in range(config.experts))
        self.own = Style(plain.num_features, has_statistics=False) if config.own == "all" else None
        self._speaker = speaker

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise ``x`` (BCDHW), all of which one expert, or one mixture, speaks for."""
        gates = self._speaker.gates
        if gates is None:
            style = self.experts[self._speaker.expert]
            scale, shift = self.weight + style.weight, self.bias + style.bias
        else:
            scale, shift = self.weight + self._mixed("weight"), self.bias + self._mixed("bias")
        if self.own is not None:
            scale, shift = scale + self.own.weight, shift + self.own.bias
        if not self.has_statistics:
            return functional.instance_norm(x, weight=scale, bias=shift, eps=self.eps)
        if self._speaker.by_batch:
            return functional.batch_norm(x, None, None, scale, shift, training=True, eps=self.eps)
        if gates is None:
            return functional.batch_norm(
                x, style.running_mean, style.running_var, scale, shift, self.training, self.momentum, self.eps
            )
        # The moments of what the experts saw together.
        mean = self._mixed("running_mean")
        square = gates.to(mean) @ torch.stack([one.running_var + one.running_mean.square() for one in self.experts])
        return functional.batch_norm(x, mean, square - mean.square(), scale, shift, eps=self.eps)

    def _mixed(self, name: str) -> torch.Tensor:
        values = torch.stack([getattr(expert, name) for expert in self.experts])
        return self._speaker.gates.to(values) @ values


class Style(nn.Module):
    """An expert's part of a normalisation: what it adds to scale and shift, at first 0, and its statistics."""

    def __init__(self, channels: int, has_statistics: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        if has_statistics:
            self.register_buffer("running_mean", torch.zeros(channels))
            self.register_buffer("running_var", torch.ones(channels))


class ExpertConv(nn.Conv3d):
    """A 3³ convolution to whose centre tap each expert adds a matrix of low rank, at first zero."""

    def __init__(self, plain: nn.Conv3d, experts: int, rank: int, speaker: Speaker) -> None:
        super().__init__(
            plain.in_channels, plain.out_channels, plain.kernel_size, plain.stride, plain.padding,
            bias=plain.bias is not None,
        )  # fmt: skip
        self.load_state_dict(plain.state_dict())
        self.experts = nn.ModuleList(Adapter(plain.in_channels, plain.out_channels, rank) for _ in range(experts))
        self._speaker = speaker

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve ``x`` (BCDHW)."""
        return self._conv_forward(x, self.folded_weight(), self.bias)

    def folded_weight(self) -> torch.Tensor:
        """The kernel (out, in, 3, 3, 3) of who speaks, the addition folded in."""
        if self._speaker.gates is None:
            addition = self.experts[self._speaker.expert]()
        else:
            addition = torch.einsum(
                "e,eoi->oi", self._speaker.gates.to(self.weight), torch.stack([expert() for expert in self.experts])
            )
        return self.weight + functional.pad(addition[:, :, None, None, None], (1,) * 6)


class Adapter(nn.Module):
    """U A: ``down`` (rank, in) random, ``up`` (out, rank) zero, so that training starts from the trunk alone."""

    def __init__(self, channels_in: int, channels_out: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, channels_in) * channels_in**-0.5)
        self.up = nn.Parameter(torch.zeros(channels_out, rank))

    def forward(self) -> torch.Tensor:
        """The matrix (out, in)."""
        return self.up @ self.down


def give_experts(network: nn.Module, config: ModelConfig, speaker: Speaker, stem: nn.Module) -> None:
    """Put experts into every normalisation of ``network``, and adapters into every 3³ convolution outside ``stem``."""
    in_stem = set(stem.modules())
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Norm):
                setattr(parent, name, ExpertNorm(child, config, speaker))
            elif (
                config.adapter_rank
                and isinstance(child, nn.Conv3d)
                and child.kernel_size == (3, 3, 3)
                and child not in in_stem
            ):
                setattr(parent, name, ExpertConv(child, config.experts, config.adapter_rank, speaker))


def fold(network: nn.Module, expert: int) -> nn.Module:
    """A copy of ``network`` in which only ``expert`` is left: plain batch norms and plain convolutions."""
    folded = copy.deepcopy(network)
    for parent in list(folded.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ExpertNorm):
                setattr(parent, name, _plain_norm(child, expert))
            elif isinstance(child, ExpertConv):
                setattr(parent, name, _plain_conv(child, expert))
    return folded


def _plain_conv(conv: ExpertConv, expert: int) -> nn.Conv3d:
    plain = nn.Conv3d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, bias=conv.bias is not None
    )
    with torch.no_grad():
        plain.weight.copy_(conv.weight)
        plain.weight[:, :, 1, 1, 1] += conv.experts[expert]()
        if conv.bias is not None:
            plain.bias.copy_(conv.bias)
    return plain


def _plain_norm(norm: ExpertNorm, expert: int) -> Norm:
    style = norm.experts[expert]
    kind = nn.BatchNorm3d if norm.has_statistics else nn.InstanceNorm3d
    plain = kind(len(norm.weight), eps=norm.eps, momentum=norm.momentum, affine=True)
    with torch.no_grad():
        plain.weight.copy_(norm.weight + style.weight + (norm.own.weight if norm.own is not None else 0))
        plain.bias.copy_(norm.bias + style.bias + (norm.own.bias if norm.own is not None else 0))
        if norm.has_statistics:
            plain.running_mean.copy_(style.running_mean)
            plain.running_var.copy_(style.running_var)
    return plain.train(norm.training)
