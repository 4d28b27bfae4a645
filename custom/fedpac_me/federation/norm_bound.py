# SPDX-License-Identifier: Apache-2.0
"""How long an update may be: longer ones are cut to a multiple of what is usual, and flagged.

The bound of a round is ``factor`` times the median length of the updates that were merged in the ``WINDOW`` rounds
before it. It is fixed before the round's first update arrives, so the order of arrival has no part in it; and as long
as fewer than half of the updates are hostile, the median is no larger than the longest honest one. Weights and running
statistics are on different scales (see ``schema.is_statistic``), so each of the two has a bound of its own.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedpac_me.errors import InputError
from fedpac_me.federation.scan import Norms
from fedpac_me.federation.schema import is_statistic

WINDOW = 5
_UNBOUNDED = float("inf")


@dataclass(frozen=True)
class Clip:
    """What an update is multiplied by: its weights, and its running statistics. 1: it is left alone."""

    weights: float = 1.0
    statistics: float = 1.0
    flag: str = ""

    def applied(self, diff: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """``diff`` itself where nothing is cut, else a copy in float32."""
        if not self.flag:
            return diff
        return {name: _times(value, self._factor(name)) for name, value in diff.items()}

    def _factor(self, name: str) -> float:
        return self.statistics if is_statistic(name) else self.weights


class NormBound:
    """Remembers how long the updates of earlier rounds were.

    Args:
        factor: times the median that an update may be long; 0: no bound at all.
        first: the bound of weights and of statistics while no round has been merged yet; 0: none.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(self, factor: float = 0.0, first: float = 0.0) -> None:
        if not _is_number(factor) or not (factor == 0 or 1 <= factor < _UNBOUNDED):
            raise InputError(f"'clip_norm_factor' must be 0 (no bound) or at least 1, got {factor!r}.")
        if not _is_number(first) or not 0 <= first < _UNBOUNDED:
            raise InputError(f"'clip_norm_first' must be 0 (no bound) or above, got {first!r}.")
        self.factor = float(factor)
        self.first = float(first)
        self._rounds: deque[list[Norms]] = deque(maxlen=WINDOW)

    def clip(self, norms: Norms) -> Clip:
        """What an update of these lengths is multiplied by in the present round."""
        return clip_at(norms, *self._bounds()) if self.factor else Clip()

    def end_round(self, merged: Iterable[Norms]) -> None:
        """Remember the lengths, as they arrived, of the updates of a round that was merged."""
        lengths = sorted(merged)
        if self.factor and lengths:
            self._rounds.append(lengths)

    def state(self) -> list[list[list[float]]]:
        """For a checkpoint: for each remembered round its updates' lengths, builtins only."""
        return [[list(norms) for norms in lengths] for lengths in self._rounds]

    def load_state(self, state: Any) -> None:
        """Continue from what ``state`` gave.

        Raises:
            InputError: it is anything else; nothing is loaded then.
        """
        try:
            rounds = [[Norms(*lengths) for lengths in entry] for entry in state]
            sound = all(_is_number(value) and 0 <= value < _UNBOUNDED for entry in rounds for n in entry for value in n)
        except TypeError:
            sound = False
        if not sound or not all(rounds):
            raise InputError("The saved lengths of earlier updates are not lists of pairs of finite numbers.")
        self._rounds = deque(rounds if self.factor else (), maxlen=WINDOW)

    def _bounds(self) -> tuple[float, float]:
        if not self._rounds:
            return self.first or _UNBOUNDED, self.first or _UNBOUNDED
        return bounds_of([norms for lengths in self._rounds for norms in lengths], self.factor)


def bounds_of(lengths: Sequence[Norms], factor: float) -> tuple[float, float]:
    """``factor`` times the median of the weights' lengths and of the statistics'; no bound where most are 0."""
    medians = (statistics.median(column) for column in zip(*lengths, strict=True))
    weights, stats = (factor * median or _UNBOUNDED for median in medians)
    return weights, stats


def clip_at(norms: Norms, weights: float, stats: float) -> Clip:
    """What cuts an update of these lengths to these bounds."""
    parts = (("weights", norms.weights, weights), ("statistics", norms.statistics, stats))
    cut = [f"{what} {norm:.4g} long, cut to the bound {bound:.4g}" for what, norm, bound in parts if norm > bound]
    factors = (bound / norm if norm > bound else 1.0 for _, norm, bound in parts)
    return Clip(*factors, flag="; ".join(cut))


def _times(value: np.ndarray, factor: float) -> np.ndarray:
    # float32 for float16 too: its scalar is not a weak one.
    return np.multiply(value, np.float32(factor))


def _is_number(value: object) -> bool:
    return type(value) in (int, float)
