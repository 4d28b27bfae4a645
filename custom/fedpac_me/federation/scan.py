# SPDX-License-Identifier: Apache-2.0
"""One look at the values of an update: are they all finite and small, and how long is the whole vector?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from fedpac_me.federation.layout import chunks
from fedpac_me.federation.rejection import Rejected, show
from fedpac_me.federation.schema import is_statistic

# float32 sums of CHUNK squares may come out smaller by up to 2¹⁶ · 2⁻²⁴ of themselves.
_MARGIN = 1.01


class Norms(NamedTuple):
    """L2 norms of an update's weights and of its running statistics, which are on another scale."""

    weights: float
    statistics: float


class Scan:
    """Checks the chunks of one update while it sums up their squares; call it with every chunk once.

    Args:
        bound: the largest value that the tensor of that name may hold.
    """

    def __init__(self, bound: Callable[[str], float]) -> None:
        self._bound = bound
        self._squares: list[float] = []
        self._squares_of_statistics: list[float] = []

    def __call__(self, name: str, values: np.ndarray) -> float:
        """Check a chunk; returns a number that no value in it exceeds in size.

        No value exceeds the root of the sum of squares, and NaN and Inf carry over into it: as long as that sum is
        well below the bound nothing else needs to be looked at. Half of it leaves room for rounding. Overflow and
        signalling NaN may warn in here: call it under ``np.errstate(all="ignore")``.

        Raises:
            Rejected: a value is NaN, infinite or too large; the sentence names the tensor.
        """
        chunk = values.astype(np.float32, copy=False)
        square = float(np.dot(chunk, chunk))
        (self._squares_of_statistics if is_statistic(name) else self._squares).append(square)
        bound = self._bound(name)
        if square <= 0.5 * bound * bound:
            return _MARGIN * math.sqrt(square)
        _check_each(name, chunk, bound)
        return bound

    def look_over(self, diff: Mapping[str, np.ndarray], names: Iterable[str]) -> None:
        """Show it the tensors ``names`` of ``diff``. Raises ``Rejected``."""
        with np.errstate(all="ignore"):
            for name in names:
                flat = diff[name].reshape(-1)
                for part in chunks(flat.size):
                    self(name, flat[part])

    @property
    def norm(self) -> float:
        """L2 norm of everything seen."""
        return _root([*self._squares, *self._squares_of_statistics])

    @property
    def norms(self) -> Norms:
        """The same of the weights and of the running statistics."""
        return Norms(_root(self._squares), _root(self._squares_of_statistics))


def measured_norm(diff: Mapping[str, np.ndarray], names: Iterable[str], bound: Callable[[str], float]) -> float:
    """``Scan`` of the tensors ``names`` of ``diff``: their norm. Raises ``Rejected``."""
    scan = Scan(bound)
    scan.look_over(diff, names)
    return scan.norm


def _root(squares: Iterable[float]) -> float:
    """float32 within a chunk, exact over the chunks, 6 digits.

    More digits would be noise, and would depend on how BLAS splits a dot product.
    """
    return float(f"{math.sqrt(math.fsum(squares)):.6g}")


def _check_each(name: str, chunk: np.ndarray, bound: float) -> None:
    # np.min and np.max pass NaN on, so no comparison can be fooled by one.
    low, high = float(np.min(chunk)), float(np.max(chunk))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise Rejected(f"{show(name)} must be finite, got NaN or infinity (non_finite).")
    largest = max(high, -low)
    if largest > bound:
        raise Rejected(f"{show(name)} must stay within ±{bound:.7g}, got a value of size {largest:.6g}.")
