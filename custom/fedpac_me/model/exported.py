# SPDX-License-Identifier: Apache-2.0
"""The network as one program that needs neither this package nor Python: ``torch.export``, the router inside."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from fedpac_me import __version__
from fedpac_me.config import Config
from fedpac_me.data.style import STYLE
from fedpac_me.errors import InputError
from fedpac_me.federation.keys import CLIP
from fedpac_me.labels import MODALITIES, REGIONS
from fedpac_me.model.backbone import SegmentationNet, build_model
from fedpac_me.model.controls import drop_controls
from fedpac_me.model.gate import SOFTNESS
from fedpac_me.model.router import Router
from fedpac_me.storage import atomic_path

FACTS_FILE = "fedpac_me.json"
"""Beside the program in the archive: what its inputs and outputs mean."""


class ExportedNet(nn.Module):
    """Windows of one scan, and its style, in; logits out.

    The choice of the expert is arithmetic: a mixture with all its weight on one, or as ``router.soft`` and
    ``router.far`` say. Under far "surest" the nearest expert speaks for a far scan too: the surest is known only when
    every expert has answered for the whole scan, which is for a caller of ``Router`` to ask (``learning.inference``).
    """

    def __init__(self, model: SegmentationNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor, present: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """Region logits (BCDHW, ``REGIONS``) of ``image`` (BCDHW, ``MODALITIES``, z-scored) with ``present`` (BC).

        ``style`` (S, ``STYLE``) is the whole scan's; it says nothing where the network has no experts.
        """
        return self.model.mixed(image, present, self.gates(style) if self.model.router is not None else None)

    def gates(self, style: torch.Tensor) -> torch.Tensor:
        """Weight of each expert (E, float64) for a scan of ``style`` (S); ``Router.route`` without leaving torch."""
        router = self.model.router
        distances = _distances(router, style)
        scores = distances if router.gate is None else router.scores(style[None])[0]
        first = scores.argmin(0, keepdim=True)
        nearest = functional.one_hot(first[0], len(distances)).to(distances)
        share = router.share.double() / router.share.double().sum()
        distance, radius = distances.gather(0, first), router.radius.double().gather(0, first)
        near = _soft_gates(distances, distance, radius, share) if router.config.soft else nearest
        far = {"nearest": near, "average": share, "surest": nearest}[router.config.far]
        return torch.where(distance > radius, far, near)


def _distances(router: Router, style: torch.Tensor) -> torch.Tensor:
    """Root mean squared difference (E) of ``style`` (S) from the keys; infinite where they know nothing in common.

    In float64, as ``Router`` does: a scan between two keys must not change sides in the program.
    """
    rows = style.reshape(len(MODALITIES), -1)
    known = (rows[:, :1] > 0).expand_as(rows).reshape(style.shape)
    values = ((style.double() - router.mean.double()) / router.scale.double()).clamp(-CLIP, CLIP)
    both = known & (router.known > 0)
    squares = torch.where(both, values - router.keys.double(), 0.0).square().sum(1)
    count = both.sum(1)
    return torch.where(count > 0, squares / count.clamp_min(1), torch.inf).sqrt()


def _soft_gates(
    distances: torch.Tensor, distance: torch.Tensor, radius: torch.Tensor, share: torch.Tensor
) -> torch.Tensor:
    """``Router._soft_gates`` (E) by ``distances`` and ``share`` (E), the nearest's ``distance`` and ``radius`` (1)."""
    nearest = torch.maximum(distance, radius).square()
    logits = share.clamp_min(1e-3).log() - SOFTNESS * (distances.square() - distance.square()) / nearest
    return logits.softmax(0)


def export_program(model: SegmentationNet, config: Config) -> torch.export.ExportedProgram:
    """The network of ``config`` as a CPU program for any number of windows of the config's crop size."""
    # Tracing leaves its own tensors in whatever network it runs through, so it gets one that nobody uses afterwards.
    traced = build_model(config).eval()
    traced.load_state_dict(model.state_dict())
    drop_controls(traced)
    edge = config.data.crop
    # Two windows: torch.export takes a batch of one for a constant.
    windows = torch.zeros(2, len(MODALITIES), edge, edge, edge)
    example = (windows, torch.ones(2, len(MODALITIES)), torch.zeros(len(STYLE)))
    batch = torch.export.Dim("windows")
    shapes = ({0: batch}, {0: batch}, None)
    return torch.export.export(ExportedNet(traced), example, dynamic_shapes=shapes)


def save_program(program: torch.export.ExportedProgram, config: Config, out: Path) -> None:
    """Write the program and ``FACTS_FILE``, atomically. Raises ``InputError`` when ``out`` exists."""
    if out.exists():
        raise InputError(f"{out} exists already. Choose another --out; nothing is overwritten.")
    facts = {
        "code": __version__,
        "modalities": MODALITIES,
        "regions": REGIONS,
        "style": STYLE,
        "window": [config.data.crop] * 3,
        "config_hash": config.hash,
    }
    with atomic_path(out) as temporary:
        torch.export.save(program, temporary, extra_files={FACTS_FILE: json.dumps(facts)})
