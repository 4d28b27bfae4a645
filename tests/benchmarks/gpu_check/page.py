# SPDX-License-Identifier: Apache-2.0
"""The page and the file of figures that the check leaves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import torch

from fedpac_me.hardware import machine, versions
from fedpac_me.storage import write_json, write_text
from gpu_check.figure import Figure

COMMAND = "make gpu-check"
_TABLE = "| what | ours | the other | figure | target | met |\n|---|---|---|---|---|---|"


def write(folder: Path, found: Mapping[str, list[Figure]]) -> Path:
    """Write ``gpu.md`` and ``gpu.json`` into ``folder``; returns the page."""
    facts = {**machine(), **versions(), "cuda": torch.version.cuda or "none"}
    day = date.today().isoformat()
    parts = {title: [figure.to_dict() for figure in figures] for title, figures in found.items()}
    write_json(folder / "gpu.json", {"command": COMMAND, "on": day, "machine": facts, "parts": parts})
    head = (
        f"# On a GPU, measured\n\n`{COMMAND}` wrote this page on {day}. Machine and versions: "
        f"{', '.join(f'{name} {value}' for name, value in facts.items())}. Where two are compared, they were measured "
        "in turns in one run."
    )
    sections = [_section(title, figures) for title, figures in found.items()]
    write_text(folder / "gpu.md", "\n\n".join([head, *sections]) + "\n")
    return folder / "gpu.md"


def _section(title: str, figures: list[Figure]) -> str:
    return "\n".join([f"## {title}", "", _TABLE, *(figure.row() for figure in figures)])
