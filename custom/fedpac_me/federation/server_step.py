# SPDX-License-Identifier: Apache-2.0
"""What the server makes of the merged difference before the model moves by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from fedpac_me.errors import InputError
from fedpac_me.federation.schema import expert_of, is_statistic


class ServerStep(Protocol):
    """Remembers earlier rounds: ``momentum.ServerMomentum`` or ``adam.ServerAdam``."""

    def apply(self, diff: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The step to take for the merged ``diff`` (float32), which is not changed."""

    def state(self) -> dict[str, np.ndarray]:
        """A copy of what it remembers, for a checkpoint."""

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what ``state`` gave. Raises ``InputError`` on anything else; nothing is loaded then."""


def moves(name: str, experts: bool) -> bool:
    """Whether the tensor ``name`` is moved by more than the merged difference.

    Statistics are averages, not descent directions: momentum could push a variance below zero, so they are not.
    """
    return not is_statistic(name) and (experts or expert_of(name) is None)


def checked_tensors(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Copies of a saved state's entries. Raises ``InputError`` where one is not a finite float32 array."""
    for name, value in state.items():
        is_float32 = isinstance(value, np.ndarray) and value.dtype == np.float32
        if not isinstance(name, str) or not is_float32 or not np.isfinite(value).all():
            raise InputError(f"The saved state of the server's optimiser: {name!r} is not a finite float32 array.")
    return {name: np.array(value) for name, value in state.items()}
