# SPDX-License-Identifier: Apache-2.0
"""Server momentum on the merged difference (FedAvgM: Hsu, Qi and Brown 2019, section 4), in Nesterov's form.

v ← β v + d;  the model moves by d + β v  (Sutskever et al. 2013, section 2, in the form torch.optim.SGD uses).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedpac_me.errors import InputError
from fedpac_me.federation.server_step import checked_tensors, moves


class ServerMomentum:
    """Velocity of every tensor over the rounds; 4 bytes an element, none with ``beta`` 0.

    ``experts`` says whether the tensors of experts have one too.
    """

    def __init__(self, beta: float = 0.0, experts: bool = True) -> None:
        if isinstance(beta, bool) or not isinstance(beta, int | float) or not 0 <= beta < 1:
            raise InputError(f"The server momentum must be at least 0 and below 1, got {beta!r}.")
        self.beta = beta
        self.experts = experts
        self._velocity: dict[str, np.ndarray] = {}

    def apply(self, diff: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The step to take for the merged ``diff`` (float32), which is not changed.

        With ``beta`` 0 it is ``diff`` itself. A tensor absent from ``diff`` is not moved and keeps its velocity.
        Statistics go through as they are.
        """
        if self.beta == 0:
            return diff
        return {name: self._moved(name, value) if moves(name, self.experts) else value for name, value in diff.items()}

    def state(self) -> dict[str, np.ndarray]:
        """A copy of the velocities, for a checkpoint."""
        return {name: velocity.copy() for name, velocity in self._velocity.items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what ``state`` gave.

        Raises:
            InputError: an entry is not a finite float32 array; nothing is loaded then.
        """
        velocity = checked_tensors(state)
        self._velocity = velocity if self.beta else {}

    def _moved(self, name: str, value: np.ndarray) -> np.ndarray:
        velocity = self._velocity.get(name)
        if velocity is None or velocity.shape != value.shape:
            velocity = self._velocity[name] = np.zeros_like(value)
        velocity *= np.float32(self.beta)
        velocity += value
        # With ``out`` a 0-d array stays an array.
        step = np.multiply(velocity, np.float32(self.beta), out=np.empty_like(velocity))
        return np.add(step, value, out=step)
