# SPDX-License-Identifier: Apache-2.0
"""FedAdam: Adam at the server, with the merged difference for a gradient (Reddi et al. 2021, algorithm 2).

m ← β₁ m + (1 - β₁) d;  v ← β₂ v + (1 - β₂) d²;  the model moves by η m / (√v + τ).  m begins at 0 and v at τ²; neither
is corrected for its beginning, as in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from fedpac_me.errors import InputError
from fedpac_me.federation.server_step import checked_tensors, moves

_FIRST, _SECOND = "first", "second"


class ServerAdam:
    """Both moments of every tensor over the rounds; 8 bytes an element.

    Args:
        learning_rate: η.
        beta1, beta2: how much of the moments is kept each round.
        tau: τ, the size of a difference below which steps shrink with it.
        experts: whether the tensors of experts are moved so too; otherwise by the merged difference.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(self, *, learning_rate: float, beta1: float, beta2: float, tau: float, experts: bool = True) -> None:
        betas_fit = all(_is_number(beta) and 0 <= beta < 1 for beta in (beta1, beta2))
        if not betas_fit or not all(_is_number(value) and 0 < value < math.inf for value in (learning_rate, tau)):
            raise InputError(
                "FedAdam needs betas of at least 0 and below 1, and a learning rate and a tau above 0, got "
                f"{beta1!r}, {beta2!r}, {learning_rate!r} and {tau!r}."
            )
        self.learning_rate = learning_rate
        self.betas = beta1, beta2
        self.tau = tau
        self.experts = experts
        self._first: dict[str, np.ndarray] = {}
        self._second: dict[str, np.ndarray] = {}

    def apply(self, diff: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The step to take for the merged ``diff`` (float32), which is not changed.

        A tensor absent from ``diff`` is not moved and keeps its moments. Statistics go through as they are.
        """
        return {name: self._moved(name, value) if moves(name, self.experts) else value for name, value in diff.items()}

    def state(self) -> dict[str, np.ndarray]:
        """A copy of the moments, for a checkpoint."""
        moments = {_FIRST: self._first, _SECOND: self._second}
        return {f"{kind}/{name}": value.copy() for kind, known in moments.items() for name, value in known.items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what ``state`` gave.

        Raises:
            InputError: an entry is not a finite float32 array, or no moment; nothing is loaded then.
        """
        moments: dict[str, dict[str, np.ndarray]] = {_FIRST: {}, _SECOND: {}}
        for entry, value in checked_tensors(state).items():
            kind, _, name = entry.partition("/")
            if kind not in moments or (kind == _SECOND and (value < 0).any()):
                raise InputError(f"The saved state of the server's optimiser has {entry!r}, which FedAdam has not.")
            moments[kind][name] = value
        if moments[_FIRST].keys() != moments[_SECOND].keys():
            raise InputError("The saved state of the server's optimiser lacks one of FedAdam's two moments.")
        self._first, self._second = moments[_FIRST], moments[_SECOND]

    def _moved(self, name: str, value: np.ndarray) -> np.ndarray:
        if name not in self._first or self._first[name].shape != value.shape:
            self._first[name] = np.zeros_like(value)
            self._second[name] = np.full_like(value, self.tau**2)
        beta1, beta2 = (np.float32(beta) for beta in self.betas)
        one = np.float32(1)
        first, second = self._first[name], self._second[name]
        # With ``out`` a 0-d array stays an array.
        np.add(beta1 * first, (one - beta1) * value, out=first)
        np.add(beta2 * second, (one - beta2) * np.square(value), out=second)
        step = np.divide(first, np.sqrt(second) + np.float32(self.tau), out=np.empty_like(first))
        return np.multiply(step, np.float32(self.learning_rate), out=step)


def _is_number(value: object) -> bool:
    return type(value) in (int, float)
