# SPDX-License-Identifier: Apache-2.0
"""Weighted sums of tensors that do not depend on the order of the summands.

Floating-point addition is not associative, so a sum kept in floats differs with the order of arrival. Here every
summand is rounded *once* to a multiple of 2⁻³² (a statistic, which needs more range: 2⁻²⁴) and added as an integer,
and integer addition is associative.

Range. With |value| ≤ 2¹⁰ and a total weight ≤ 2²⁰ the sum is at most 2¹⁰ · 2²⁰ · 2³² = 2⁶² units, plus half a unit and
a relative 2⁻⁵¹ per summand, and an int64 holds nearly 2⁶³: no overflow. With 24 fraction bits and |value| ≤ 2¹⁸ the
same holds, 2¹⁸ · 2²⁰ · 2²⁴ = 2⁶². The check of every update guarantees the values, this class the total weight.

Resolution. A mean over the total weight W differs from the exact mean by at most n · 2⁻³³ / W for n summands
(n · 2⁻²⁵ / W for a statistic), before it is rounded to float32. One site of N whole cases is given back exactly where
|value| ≥ 2⁻⁸ / N, and within 2⁻³³ / N (plus the float32 rounding) below that; a statistic where |value| ≥ 1 / N, and
within 2⁻²⁵ / N. Weights keep 26 significant bits, which is exact for whole cases and finer than float32 otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fedpac_me.federation import layout

FRACTION_BITS = 32
MAX_ABS = 2.0**10
STATISTIC_BITS = 24
MAX_ABS_STATISTIC = 2.0**18
MAX_TOTAL_WEIGHT = 2**20

# An accumulator holds ``_SHIFT_BITS`` plus the sum, in int64. In [2⁵², 2⁵³) a float64 has a unit of 1, and the bits of
# 1.5·2⁵² + n are ``_SHIFT_BITS`` + n for integers |n| ≤ 2⁵¹: as long as the sum is that small, the same memory read as
# float64 is 1.5·2⁵² plus the sum, and adding a float64 x to it rounds x to an integer on the way. That saves the
# passes that round and cast.
#
# It depends on the order in one case only: halves are rounded to even, so the sum so far would decide where they go.
# Therefore no summand may be a half. value · units has at most 24 + 26 = 50 of the 53 bits of a float64; multiplied by
# the float64 next to ``units`` instead, it gets a one in the last or last but one bit. Below 2⁵⁰ that bit is worth
# less than a half, so the summand is no half (and no other half was crossed: it is rounded as before).
MAX_FAST_UNITS = 2.0**50
_WEIGHT_BITS = 26
_SHIFT = 1.5 * 2.0**52
_SHIFT_BITS = np.float64(_SHIFT).view(np.int64)

_ONE = 2**FRACTION_BITS
# Looks at a chunk of a tensor before it is added: returns a bound of its values' size, or raises to refuse it.
Check = Callable[[str, np.ndarray], float]


def to_fixed(weight: float) -> int:
    """``weight`` in units of 2⁻³², to 26 bits. Raises ``ValueError`` unless it is finite and at least 0."""
    if not (math.isfinite(weight) and weight >= 0):
        raise ValueError(f"A weight must be finite and at least 0, got {weight!r}.")
    units = round(weight * _ONE)
    surplus = max(units.bit_length() - _WEIGHT_BITS, 0)
    return (units + (1 << surplus >> 1)) >> surplus << surplus


@dataclass(frozen=True)
class Prepared:
    """A summand that fits: its weight in units, its tensors flat, and what the sum knew before it."""

    units: int
    flat: dict[str, np.ndarray]
    reach_before: list[float]


class FixedPointSum:
    """Σ weight · value for a set of tensors that always come together; all of them share one total weight.

    Values are kept in units of 2 to the minus ``fraction_bits``, ``FRACTION_BITS`` or ``STATISTIC_BITS``.
    Accumulators are allocated at the first summand: 8 bytes an element.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], fraction_bits: int = FRACTION_BITS) -> None:
        self._shapes = {name: tuple(shape) for name, shape in shapes.items()}
        # What a product of a value and a weight in units of 2⁻³² is multiplied by; exact, a power of two.
        self._step = 2.0 ** (fraction_bits - FRACTION_BITS)
        self._blocks = layout.laid_out(self._shapes)
        self._pieces = [piece for block in self._blocks for piece in layout.pieces(block)]
        # A bound of the sum in each piece, in units.
        self._reach = [0.0] * len(self._pieces)
        self._units = 0
        self._summands = 0

    @property
    def max_abs(self) -> float:
        """The largest value that a tensor may hold."""
        return MAX_ABS / self._step

    @property
    def total_weight(self) -> float:
        """The sum of all weights; exact, since it is at most 2⁵² units."""
        return self._units / _ONE

    def has_room(self, weight: float) -> bool:
        """Whether ``weight`` can be added without leaving the proven range."""
        return self._units + to_fixed(weight) <= MAX_TOTAL_WEIGHT * _ONE

    def add(self, values: Mapping[str, np.ndarray], weight: float, check: Check | None = None) -> None:
        """Add ``weight`` times ``values`` (floating point, every tensor of the set).

        ``check`` sees every chunk before it is added; without it the caller vouches for |value| ≤ ``max_abs``.

        Raises:
            OverflowError: the total weight would exceed ``MAX_TOTAL_WEIGHT``.
            ValueError: the weight is negative or not finite, or a shape differs.
            KeyError: a tensor is missing.
        After an error, those of ``check`` too, the sum is what it was.
        """
        self.commit(self.prepare(values, weight), check)

    def prepare(self, values: Mapping[str, np.ndarray], weight: float) -> Prepared:
        """Do everything of ``add`` that can fail before a value is looked at; changes nothing."""
        if not self.has_room(weight):
            raise OverflowError(f"The total weight would exceed {MAX_TOTAL_WEIGHT} cases.")
        for name, shape in self._shapes.items():
            if values[name].shape != shape:
                raise ValueError(f"'{name}' has shape {values[name].shape}, expected {shape}.")
        self._allocate()
        # A view where the array is contiguous, as everything is that came over the wire.
        flat = {name: values[name].reshape(-1) for name in self._shapes}
        return Prepared(to_fixed(weight), flat, list(self._reach))

    def commit(self, prepared: Prepared, check: Check | None = None) -> None:
        """Add what ``prepare`` gave; whatever ``check`` raises, the chunks before it are taken back."""
        factor, scratch = self._factor(prepared), np.empty(layout.CHUNK, np.float64)
        done = 0
        try:
            for number, piece in enumerate(self._pieces):
                values = prepared.flat[piece.name][piece.part]
                largest = self.max_abs if check is None else check(piece.name, values)
                self._reach[number] += factor * largest
                self._put(number, values, factor, scratch)
                done += 1
        except BaseException:
            self._take_back(prepared, done)
            raise
        self._units += prepared.units
        self._summands += 1

    def retract(self, prepared: Prepared) -> None:
        """Undo the last ``commit``: integers come back to the very same bits."""
        self._units -= prepared.units
        self._summands -= 1
        self._take_back(prepared, len(self._pieces))

    def _take_back(self, prepared: Prepared, done: int) -> None:
        # Before the first summand the content does not count.
        if self._summands:
            factor, scratch = -self._factor(prepared), np.empty(layout.CHUNK, np.float64)
            for number, piece in enumerate(self._pieces[:done]):
                self._put(number, prepared.flat[piece.name][piece.part], factor, scratch)
        self._reach = list(prepared.reach_before)

    def _factor(self, prepared: Prepared) -> float:
        """What values are multiplied by: the float64 above the weight, see ``MAX_FAST_UNITS``."""
        return math.nextafter(prepared.units * self._step, math.inf)

    def _put(self, number: int, values: np.ndarray, factor: float, scratch: np.ndarray) -> None:
        piece = self._pieces[number]
        add = _add_fast if self._reach[number] <= MAX_FAST_UNITS else _add_any
        add(piece.block.total[piece.place], values, factor, self._summands == 0, scratch)

    def inspect(self, values: Mapping[str, np.ndarray], check: Check) -> None:
        """Show ``check`` the tensors of the set that are there, as ``add`` would, without adding them."""
        for piece in self._pieces:
            if piece.name in values:
                check(piece.name, values[piece.name].reshape(-1)[piece.part])

    def merge(self, other: FixedPointSum) -> None:
        """Add another sum of the same tensors: the same means, to the byte, as if its summands had been added here.

        Raises:
            ValueError: the other sum is over different tensors.
            OverflowError: the total weight would exceed ``MAX_TOTAL_WEIGHT``.
        """
        self.check_mergeable(other)
        if other._summands == 0:
            return
        self._allocate()
        for mine, theirs in zip(self._blocks, other._blocks, strict=True):
            if self._summands == 0:
                np.copyto(mine.total, theirs.total)
            else:
                np.add(mine.total, theirs.total, out=mine.total)
                np.subtract(mine.total, _SHIFT_BITS, out=mine.total)
        self._units += other._units
        self._summands += other._summands
        self._reach = [mine + theirs for mine, theirs in zip(self._reach, other._reach, strict=True)]

    def check_mergeable(self, other: FixedPointSum) -> None:
        """Raise what ``merge`` would raise, changing nothing."""
        if other._shapes != self._shapes or other._step != self._step:
            raise ValueError("Only sums over the same tensors, in the same units, can be merged.")
        if self._units + other._units > MAX_TOTAL_WEIGHT * _ONE:
            raise OverflowError(f"The total weight would exceed {MAX_TOTAL_WEIGHT} cases.")

    def mean(self, name: str) -> np.ndarray:
        """The weighted mean of one tensor as float32. Raises ``ValueError`` when nothing was added."""
        self._check_used()
        block = next(block for block in self._blocks if name in block.places)
        return self._quotient(block.total[block.places[name]]).reshape(self._shapes[name])

    def means(self, release: bool = False) -> dict[str, np.ndarray]:
        """``mean`` of every tensor; they are views of few arrays.

        With ``release`` the accumulators are freed block by block on the way, and the sum starts again from nothing.
        Raises ``ValueError`` when nothing was added.
        """
        self._check_used()
        found: dict[str, np.ndarray] = {}
        for block in self._blocks:
            flat = self._quotient(block.total)
            if release:
                block.total = None
            found.update({name: flat[place].reshape(self._shapes[name]) for name, place in block.places.items()})
        if release:
            self._units = self._summands = 0
            self._reach = [0.0] * len(self._pieces)
        return found

    def _check_used(self) -> None:
        if self._units == 0:
            raise ValueError("There is no mean: nothing was added.")

    def _quotient(self, total: np.ndarray) -> np.ndarray:
        """The sum / total weight as float32."""
        share = 1.0 / (self._units * self._step)
        result = np.empty(total.size, np.float32)
        wide, whole = np.empty(layout.CHUNK, np.float64), np.empty(layout.CHUNK, np.int64)
        for part in layout.chunks(total.size):
            size = part.stop - part.start
            # Integers wrap around at 2⁶⁴ as often on the way up as here on the way down.
            np.subtract(total[part], _SHIFT_BITS, out=whole[:size])
            np.copyto(wide[:size], whole[:size])
            np.multiply(wide[:size], share, out=wide[:size])
            np.copyto(result[part], wide[:size], casting="same_kind")
        return result

    def _allocate(self) -> None:
        """Make the missing accumulators; their content counts only once something was added."""
        for block in self._blocks:
            if block.total is None:
                block.total = np.empty(block.size, np.int64)


def _add_fast(total: np.ndarray, values: np.ndarray, factor: float, first: bool, scratch: np.ndarray) -> None:
    """total += rint(values · factor) (first summand: ``_SHIFT_BITS`` + …), while the sum is surely below 2⁵¹."""
    product, floats = scratch[: values.size], total.view(np.float64)
    np.copyto(product, values)
    np.multiply(product, factor, out=product)
    np.add(_SHIFT if first else floats, product, out=floats)


def _add_any(total: np.ndarray, values: np.ndarray, factor: float, first: bool, scratch: np.ndarray) -> None:
    """The same integers as ``_add_fast``, without its limit."""
    product = scratch[: values.size]
    np.copyto(product, values)
    np.multiply(product, factor, out=product)
    np.rint(product, out=product)
    np.add(_SHIFT_BITS if first else total, product.astype(np.int64), out=total)
