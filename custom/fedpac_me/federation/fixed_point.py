# SPDX-License-Identifier: Apache-2.0
"""Weighted sums of tensors that do not depend on the order of the summands.

Floating-point addition is not associative, so a sum kept in floats differs with the order of arrival. Here every
summand is rounded *once* to a multiple of 2⁻³² and added as an integer, and integer addition is associative.

Range. With |value| ≤ 2¹⁰ and a total weight ≤ 2²⁰ the sum is at most 2¹⁰ · 2²⁰ · 2³² = 2⁶², plus half a unit and one
float64 rounding per summand, and an int64 holds nearly 2⁶³: no overflow. The caller guarantees the values
(``update.check`` does), this class the total weight.

Resolution. A mean over the total weight W differs from the exact mean by at most n · 2⁻³³ / W for n summands, before
it is rounded to float32. One site of N whole cases is given back exactly where |value| ≥ 2⁻⁸ / N, and within 2⁻³³ / N
(plus the float32 rounding) below that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from fedpac_me.federation.parallel import over_tensors

FRACTION_BITS = 32
MAX_ABS = 2.0**10
MAX_TOTAL_WEIGHT = 2**20

# 2¹⁵ elements: the float64 and the int64 scratch take 256 KiB each and stay in the L2 cache between the passes.
CHUNK = 2**15

_ONE = 2**FRACTION_BITS

Prepared = tuple[int, dict[str, np.ndarray]]


def chunks(size: int) -> Iterator[slice]:
    """Slices that cover ``size`` elements, ``CHUNK`` at a time."""
    return (slice(start, min(start + CHUNK, size)) for start in range(0, size, CHUNK))


def to_fixed(weight: float) -> int:
    """``weight`` in units of 2⁻³². Raises ``ValueError`` unless it is finite and at least 0."""
    if not (math.isfinite(weight) and weight >= 0):
        raise ValueError(f"A weight must be finite and at least 0, got {weight!r}.")
    return round(weight * _ONE)


class FixedPointSum:
    """Σ weight · value for a set of tensors that always come together; all of them share one total weight.

    Accumulators are allocated at the first summand: 8 bytes an element.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self._sums: dict[str, np.ndarray] = {}
        self._total = 0

    @property
    def total_weight(self) -> float:
        """The sum of all weights; exact, since it is at most 2⁵² units."""
        return self._total / _ONE

    def has_room(self, weight: float) -> bool:
        """Whether ``weight`` can be added without leaving the proven range."""
        return self._total + to_fixed(weight) <= MAX_TOTAL_WEIGHT * _ONE

    def add(self, values: Mapping[str, np.ndarray], weight: float) -> None:
        """Add ``weight`` times ``values`` (floating point, |value| ≤ ``MAX_ABS``, every tensor of the set).

        Raises:
            OverflowError: the total weight would exceed ``MAX_TOTAL_WEIGHT``.
            ValueError: the weight is negative or not finite, or a shape differs.
            KeyError: a tensor is missing.
        After an error nothing has been added.
        """
        self.commit(self.prepare(values, weight))

    def prepare(self, values: Mapping[str, np.ndarray], weight: float) -> Prepared:
        """Do everything of ``add`` that can fail, so that several sums can be changed together or not at all."""
        if not self.has_room(weight):
            raise OverflowError(f"The total weight would exceed {MAX_TOTAL_WEIGHT} cases.")
        for name, shape in self._shapes.items():
            if values[name].shape != shape:
                raise ValueError(f"'{name}' has shape {values[name].shape}, expected {shape}.")
        # A view where the array is contiguous, as everything is that came over the wire.
        flat = {name: values[name].reshape(-1) for name in self._shapes}
        self._allocate()
        return to_fixed(weight), flat

    def commit(self, prepared: Prepared) -> None:
        """Add what ``prepare`` gave."""
        units, flat = prepared
        over_tensors(lambda name: _accumulate(self._sums[name], flat[name], float(units)), flat, flat)
        self._total += units

    def merge(self, other: FixedPointSum) -> None:
        """Add another sum of the same tensors: the same bytes as if its summands had been added here.

        Raises:
            ValueError: the other sum is over different tensors.
            OverflowError: the total weight would exceed ``MAX_TOTAL_WEIGHT``.
        """
        self.check_mergeable(other)
        if other._sums:
            self._allocate()
        for name, total in other._sums.items():
            np.add(self._sums[name], total, out=self._sums[name])
        self._total += other._total

    def check_mergeable(self, other: FixedPointSum) -> None:
        """Raise what ``merge`` would raise, changing nothing."""
        if other._shapes != self._shapes:
            raise ValueError("Only sums over the same tensors can be merged.")
        if self._total + other._total > MAX_TOTAL_WEIGHT * _ONE:
            raise OverflowError(f"The total weight would exceed {MAX_TOTAL_WEIGHT} cases.")

    def mean(self, name: str) -> np.ndarray:
        """The weighted mean of one tensor as float32. Raises ``ValueError`` when nothing was added."""
        if self._total == 0:
            raise ValueError(f"'{name}' has no mean: nothing was added.")
        return _quotient(self._sums[name], float(self._total)).reshape(self._shapes[name])

    def means(self, release: bool = False) -> dict[str, np.ndarray]:
        """``mean`` of every tensor. With ``release`` each accumulator is freed as its mean is taken: the sum is spent.

        Raises ``ValueError`` when nothing was added.
        """

        def take(name: str) -> np.ndarray:
            mean = self.mean(name)
            if release:
                del self._sums[name]
            return mean

        names = list(self._shapes)
        return dict(zip(names, over_tensors(take, names, self._sums), strict=True))

    def _allocate(self) -> None:
        """Make the accumulators, all or none."""
        if not self._sums:
            self._sums = {name: np.zeros(math.prod(shape), np.int64) for name, shape in self._shapes.items()}


def _accumulate(total: np.ndarray, values: np.ndarray, units: float) -> None:
    """total += rint(values · units), through scratch that stays in the cache.

    The product is exact for whole cases: 24 + 21 bits fit in the 53 of a float64.
    """
    wide = np.empty(min(CHUNK, values.size), np.float64)
    whole = np.empty(wide.size, np.int64)
    for part in chunks(values.size):
        size = part.stop - part.start
        scaled, rounded = wide[:size], whole[:size]
        np.multiply(values[part], units, out=scaled, dtype=np.float64)
        np.rint(scaled, out=scaled)
        np.copyto(rounded, scaled, casting="unsafe")
        np.add(total[part], rounded, out=total[part])


def _quotient(total: np.ndarray, units: float) -> np.ndarray:
    """total / units as float32; both are in units of 2⁻³², which cancel."""
    result = np.empty(total.size, np.float32)
    wide = np.empty(min(CHUNK, total.size), np.float64)
    for part in chunks(total.size):
        quotient = wide[: part.stop - part.start]
        np.divide(total[part], units, out=quotient)
        result[part] = quotient
    return result
