# SPDX-License-Identifier: Apache-2.0
"""What a site keeps for itself between rounds, on its own disk.

In a simulator with fewer threads than sites the process that trained a round is gone in the next, so the
file, not the memory, is the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fedpac_me.errors import InputError
from fedpac_me.storage import atomic_path


@dataclass
class SiteState:
    """``optimizer``: its state dict. ``weights``: the site's own model where nothing is shared, else ``None``."""

    optimizer: dict[str, Any]
    weights: dict[str, torch.Tensor] | None = None

    def save(self, path: Path) -> None:
        """Write the state, atomically."""
        with atomic_path(path) as temporary:
            torch.save({"optimizer": self.optimizer, "weights": self.weights}, temporary)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> SiteState | None:
        """The saved state, ``None`` before the first round. Raises ``InputError`` when the file is damaged."""
        if not path.is_file():
            return None
        try:
            content = torch.load(path, map_location=device, weights_only=True)
            return cls(content["optimizer"], content["weights"])
        except Exception as error:
            raise InputError(
                f"The site's state file {path} cannot be read ({type(error).__name__}). "
                "Delete it to go on with a fresh optimiser."
            ) from None
