# SPDX-License-Identifier: Apache-2.0
"""What a site keeps for itself between rounds, on its own disk.

In a simulator with fewer threads than sites the process that trained a round is gone in the next, so the
file, not the memory, is the truth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fedpac_me.errors import InputError
from fedpac_me.storage import atomic_path


@dataclass
class SiteState:
    """``optimizer``: its state dict. ``weights``: the site's own model where nothing is shared, else what its model
    has of its own, perhaps nothing.
    """

    optimizer: dict[str, Any]
    weights: dict[str, torch.Tensor]

    def save(self, folder: Path, round_number: int) -> None:
        """Write the state after ``round_number``, atomically; the one before it is kept, older ones go."""
        with atomic_path(_path(folder, round_number)) as temporary:
            torch.save({"optimizer": self.optimizer, "weights": self.weights}, temporary)
        for known, path in _states(folder):
            if known < round_number - 1:
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
            return cls(content["optimizer"], content["weights"])
        except Exception as error:
            raise InputError(
                f"The site's state file {path} cannot be read ({type(error).__name__}). "
                "Delete it to go on with a fresh optimiser."
            ) from None


def _path(folder: Path, round_number: int) -> Path:
    return folder / f"state-{round_number}.pt"


def _states(folder: Path) -> list[tuple[int, Path]]:
    return [(int(path.stem.removeprefix("state-")), path) for path in folder.glob("state-*.pt")]
