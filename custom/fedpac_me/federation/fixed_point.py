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
from dataclasses import dataclass

import numpy as np

FRACTION_BITS = 32
MAX_ABS = 2.0**10
MAX_TOTAL_WEIGHT = 2**20

# 2¹⁵ elements: the float64 and the int64 scratch take 256 KiB each and stay in the L2 cache between the passes.
CHUNK = 2**15

# Rounding by addition: in [2⁵², 2⁵³) a float64 has a unit of 1, so x + 1.5·2⁵² rounds x to an integer (half to even,
# as rint does) and its bits are those of 1.5·2⁵² plus that integer, for |x| ≤ 2⁵¹. That is a third faster than rint
# and a cast; the constant is taken off again when the mean is computed.
MAX_FAST_WEIGHT = 2**9
_SHIFT = 1.5 * 2.0**52
_SHIFT_BITS = int(np.float64(_SHIFT).view(np.int64))

_ONE = 2**FRACTION_BITS
# Tensors share blocks of at least 8 MiB, for which the system hands out memory in large pages.
_BLOCK = 2**20

Prepared = tuple[int, dict[str, np.ndarray]]
_Scratch = tuple[np.ndarray, np.ndarray]


def chunks(size: int) -> Iterator[slice]:
    """Slices that cover ``size`` elements, ``CHUNK`` at a time."""
    return (slice(start, min(start + CHUNK, size)) for start in range(0, size, CHUNK))


def to_fixed(weight: float) -> int:
    """``weight`` in units of 2⁻³². Raises ``ValueError`` unless it is finite and at least 0."""
    if not (math.isfinite(weight) and weight >= 0):
        raise ValueError(f"A weight must be finite and at least 0, got {weight!r}.")
    return round(weight * _ONE)


@dataclass
class _Block:
    """Consecutive tensors in one flat accumulator, ``None`` as long as nothing was added."""

    places: dict[str, slice]
    size: int
    total: np.ndarray | None = None


class FixedPointSum:
    """Σ weight · value for a set of tensors that always come together; all of them share one total weight.

    Accumulators are allocated at the first summand: 8 bytes an element.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self._blocks = _laid_out(self._shapes)
        self._units = 0
        self._summands = 0
        self._fast_summands = 0

    @property
    def total_weight(self) -> float:
        """The sum of all weights; exact, since it is at most 2⁵² units."""
        return self._units / _ONE

    def has_room(self, weight: float) -> bool:
        """Whether ``weight`` can be added without leaving the proven range."""
        return self._units + to_fixed(weight) <= MAX_TOTAL_WEIGHT * _ONE

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
        self._allocate()
        # A view where the array is contiguous, as everything is that came over the wire.
        return to_fixed(weight), {name: values[name].reshape(-1) for name in self._shapes}

    def commit(self, prepared: Prepared) -> None:
        """Add what ``prepare`` gave."""
        units, flat = prepared
        add = _add_fast if units <= MAX_FAST_WEIGHT * _ONE else _add_any
        scratch = np.empty(CHUNK, np.float64), np.empty(CHUNK, np.int64)
        for block in self._blocks:
            for name, place in block.places.items():
                add(block.total[place], flat[name], float(units), self._summands == 0, scratch)
        self._units += units
        self._summands += 1
        self._fast_summands += add is _add_fast

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
        self._units += other._units
        self._summands += other._summands
        self._fast_summands += other._fast_summands

    def check_mergeable(self, other: FixedPointSum) -> None:
        """Raise what ``merge`` would raise, changing nothing."""
        if other._shapes != self._shapes:
            raise ValueError("Only sums over the same tensors can be merged.")
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
            self._units = self._summands = self._fast_summands = 0
        return found

    def _check_used(self) -> None:
        if self._units == 0:
            raise ValueError("There is no mean: nothing was added.")

    def _quotient(self, total: np.ndarray) -> np.ndarray:
        """total / total weight as float32; both are in units of 2⁻³², which cancel."""
        shift = np.uint64(self._fast_summands * _SHIFT_BITS % 2**64).astype(np.int64)
        share = 1.0 / self._units
        result = np.empty(total.size, np.float32)
        wide, whole = np.empty(CHUNK, np.float64), np.empty(CHUNK, np.int64)
        for part in chunks(total.size):
            size = part.stop - part.start
            # Integers wrap around at 2⁶⁴ as often on the way up as here on the way down.
            np.subtract(total[part], shift, out=whole[:size])
            np.copyto(wide[:size], whole[:size])
            np.multiply(wide[:size], share, out=wide[:size])
            np.copyto(result[part], wide[:size], casting="same_kind")
        return result

    def _allocate(self) -> None:
        """Make the missing accumulators; their content counts only once something was added."""
        for block in self._blocks:
            if block.total is None:
                block.total = np.empty(block.size, np.int64)


def _laid_out(shapes: Mapping[str, tuple[int, ...]]) -> list[_Block]:
    blocks: list[_Block] = []
    for name, shape in shapes.items():
        if not blocks or blocks[-1].size >= _BLOCK:
            blocks.append(_Block({}, 0))
        start = blocks[-1].size
        blocks[-1].size = start + math.prod(shape)
        blocks[-1].places[name] = slice(start, blocks[-1].size)
    return blocks


def _add_fast(total: np.ndarray, values: np.ndarray, units: float, first: bool, scratch: _Scratch) -> None:
    """total += rint(values · units) + ``_SHIFT_BITS`` (``=`` for the first summand), for |values · units| ≤ 2⁵¹.

    The product is exact for whole cases: 24 + 10 bits fit in the 53 of a float64.
    """
    wide = scratch[0]
    bits = wide.view(np.int64)
    for part in chunks(values.size):
        size = part.stop - part.start
        np.copyto(wide[:size], values[part])
        np.multiply(wide[:size], units, out=wide[:size])
        np.add(wide[:size], _SHIFT, out=wide[:size])
        _put(total[part], bits[:size], first)


def _add_any(total: np.ndarray, values: np.ndarray, units: float, first: bool, scratch: _Scratch) -> None:
    """total += rint(values · units) (``=`` for the first summand); exact product for up to 2²⁰ whole cases."""
    wide, whole = scratch
    for part in chunks(values.size):
        size = part.stop - part.start
        np.copyto(wide[:size], values[part])
        np.multiply(wide[:size], units, out=wide[:size])
        np.rint(wide[:size], out=wide[:size])
        np.copyto(whole[:size], wide[:size], casting="unsafe")
        _put(total[part], whole[:size], first)


def _put(total: np.ndarray, summand: np.ndarray, first: bool) -> None:
    if first:
        np.copyto(total, summand)
    else:
        np.add(total, summand, out=total)
