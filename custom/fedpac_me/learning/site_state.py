# SPDX-License-Identifier: Apache-2.0
"""What a site keeps for itself between rounds, on its own disk.

In a simulator with fewer threads than sites the process that trained a round is gone in the next, so the
file, not the memory, is the truth.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from fedpac_me.errors import InputError
from fedpac_me.storage import atomic_path

_KEPT_BEFORE = 2
"""A site may be one round ahead of the server, and the server's newest state be damaged."""
_JOBS_KEPT = 4


@dataclass
class SiteState:
    """``optimizer``: its state dict. ``weights``: the site's own model where it has a whole one, else what its model
    has of its own, perhaps nothing. ``algorithm``: of ``learning.algorithms``, perhaps nothing. ``unsent``: what
    rounding took from its last update, see ``federation.precision``; nothing where updates are not rounded.
    """

    optimizer: dict[str, Any]
    weights: dict[str, torch.Tensor]
    algorithm: dict[str, Any] = field(default_factory=dict)
    unsent: dict[str, torch.Tensor] = field(default_factory=dict)

    def save(self, folder: Path, round_number: int) -> None:
        """Write the state after ``round_number``, atomically; as many before it are kept as a server may go back."""
        with atomic_path(_path(folder, round_number)) as temporary:
            torch.save({kind.name: getattr(self, kind.name) for kind in fields(self)}, temporary)
        for known, path in _states(folder):
            if known < round_number - _KEPT_BEFORE:
                path.unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: Path, device: torch.device, before: float = math.inf) -> SiteState | None:
        """The newest state of a round before ``before``; ``None`` when there is none.

        FLARE may give a site the same round twice, as after a lost connection. Asking for what was before the
        round makes the second answer equal the first.

        Raises:
            InputError: the file is damaged.
        """
        earlier = [(number, path) for number, path in _states(folder) if number < before]
        if not earlier:
            return None
        path = max(earlier)[1]
        try:
            content = torch.load(path, map_location=device, weights_only=True)
            return cls(**content)
        except Exception as error:
            raise InputError(
                f"The site's state file {path} cannot be read ({type(error).__name__}). "
                "Delete it to go on with a fresh optimiser."
            ) from None


def states_of_job(root: Path, job: str, earlier: Path | None = None) -> Path:
    """The folder below ``root`` for the states of ``job``, whose first states are copies of those in ``earlier``.

    Copies, so that two jobs that go on from one do not disturb each other. The states of jobs long past are deleted.
    """
    folder = root / job
    if not folder.exists():
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=root) as temporary:
            made = Path(temporary) / job
            shutil.copytree(earlier, made) if earlier is not None and earlier.is_dir() else made.mkdir()
            made.rename(folder)
        by_age = sorted(root.iterdir(), key=lambda known: known.stat().st_mtime)
        for old in by_age[:-_JOBS_KEPT]:
            shutil.rmtree(old, ignore_errors=True)
    return folder


def _path(folder: Path, round_number: int) -> Path:
    return folder / f"state-{round_number}.pt"


def _states(folder: Path) -> list[tuple[int, Path]]:
    return [(int(path.stem.removeprefix("state-")), path) for path in folder.glob("state-*.pt")]
