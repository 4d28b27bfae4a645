# SPDX-License-Identifier: Apache-2.0
"""The network as one program that needs neither this package nor Python: ``torch.export``, the router inside."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

from fedpac_me import __version__
from fedpac_me.config import Config
from fedpac_me.data.style import STYLE
from fedpac_me.errors import InputError
from fedpac_me.labels import MODALITIES, REGIONS
from fedpac_me.model.backbone import SegmentationNet
from fedpac_me.storage import atomic_path

FACTS_FILE = "fedpac_me.json"
"""Beside the program in the archive: what its inputs and outputs mean."""


class ExportedNet(nn.Module):
    """Windows of one scan, and its style, in; logits out.

    The choice of the expert is arithmetic: a mixture with all its weight on one. For a far scan the nearest expert
    speaks too: asking all of them, or averaging them, is not in the program.
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
        """Weight of each expert (E): 1 for the one that speaks."""
        router = self.model.router
        scores = router.scores(style[None])[0]
        return nn.functional.one_hot(torch.argmin(scores), len(scores)).to(style)


def export_program(model: SegmentationNet, config: Config) -> torch.export.ExportedProgram:
    """The network as a program for any number of windows of the config's crop size."""
    edge = config.data.crop
    # Two windows: torch.export takes a batch of one for a constant.
    windows = torch.zeros(2, len(MODALITIES), edge, edge, edge)
    example = (windows, torch.ones(2, len(MODALITIES)), torch.zeros(len(STYLE)))
    batch = torch.export.Dim("windows")
    shapes = ({0: batch}, {0: batch}, None)
    return torch.export.export(ExportedNet(model.eval()), example, dynamic_shapes=shapes)


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
