# SPDX-License-Identifier: Apache-2.0
"""Do the sites pull an expert the same way? Cosines between their updates of it, without keeping any update.

A count sketch (Charikar, Chen and Farach-Colton 2002) adds every value, with a random sign, into one of ``WIDTH``
buckets; a site's update of an expert is remembered as these 4 KiB alone. The dot product of two sketches is an unbiased
estimate of that of the updates, so the cosine of two sketches estimates theirs, with a standard error of about
(1 - cosine²) / √512: at most 0.044, and none for updates that are equal or opposite. Buckets and signs depend on the
tensors' names and sizes alone, so they are the same in every round and whatever order the sites answer in.
"""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypedDict

import numpy as np

from fedpac_me.federation.schema import Schema, is_statistic

WIDTH = 512

_DIGITS = 6
_log = logging.getLogger(__name__)


class Cosine(TypedDict):
    """The mean over all ``pairs`` of sites of the cosine between their updates."""

    mean: float
    pairs: int


class Agreement:
    """Gathers the sketches of one round's accepted updates, in any order.

    Running statistics do not count, since no descent moves them, nor do experts that a site did not use, nor updates
    that are zero throughout, which point nowhere. No method raises: a figure must not cost a round its updates.
    """

    def __init__(self, schema: Schema | None = None) -> None:
        """``schema``: of the round's model; without one there are no experts."""
        groups = schema.expert_keys if schema is not None else ()
        self._keys = [tuple(name for name in names if not is_statistic(name)) for names in groups]
        self._sizes = [tuple(math.prod(schema.shapes[name]) for name in names) for names in self._keys if schema]
        self._sketches: list[dict[str, np.ndarray]] = [{} for _ in self._keys]
        self._failed = False

    def add(self, site: str, diff: Mapping[str, np.ndarray], expert_mass: Sequence[float] | None) -> None:
        """Note a site's update, whose values must have been checked, of the experts that have mass there."""
        try:
            for expert, mass in enumerate(expert_mass or ()):
                if mass > 0 and any(self._sizes[expert]):
                    self._sketches[expert][site] = self._sketch(expert, diff)
        except Exception:
            # Memory can run out. A mean without this site would pass for one with it, so the round goes without any.
            _log.exception("An update's agreement with the others could not be noted")
            self._failed = True

    def cosines(self) -> list[Cosine | None]:
        """For each expert what the updates so far come to; ``None`` where fewer than two sites moved it."""
        if self._failed:
            return [None] * len(self._sketches)
        return [_mean_cosine([found[site] for site in sorted(found)]) for found in self._sketches]

    def means(self) -> tuple[float | None, ...]:
        """The mean cosine of each expert, or ``None``."""
        return tuple(found["mean"] if found else None for found in self.cosines())

    def _sketch(self, expert: int, diff: Mapping[str, np.ndarray]) -> np.ndarray:
        names = self._keys[expert]
        values = np.concatenate([diff[name].reshape(-1) for name in names], dtype=np.float64)
        sums = np.bincount(_buckets(names, self._sizes[expert]), values, 2 * WIDTH)
        return sums[:WIDTH] - sums[WIDTH:]


@lru_cache(maxsize=64)  # the most experts that a model can have; every round asks for the same ones
def _buckets(names: tuple[str, ...], sizes: tuple[int, ...]) -> np.ndarray:
    """For every value its bucket, plus ``WIDTH`` where its sign is negative: one draw for both, one pass to add."""
    drawn = [
        np.random.default_rng(zlib.crc32(name.encode())).integers(2 * WIDTH, size=size, dtype=np.intp)
        for name, size in zip(names, sizes, strict=True)
    ]
    return np.concatenate(drawn)


def _mean_cosine(sketches: Sequence[np.ndarray]) -> Cosine | None:
    """From |Σ u|² = n + Σ cos over ordered pairs, with u the sketches at length 1: linear in the sites, not quadratic.

    Sums are correctly rounded (``fsum``), so that they do not depend on how a library cuts them up.
    """
    lengths = [math.sqrt(_square(sketch)) for sketch in sketches]
    units = [sketch / length for sketch, length in zip(sketches, lengths, strict=True) if 0 < length < math.inf]
    count = len(units)
    if count < 2:
        return None
    mean = (_square(sum(units[1:], units[0])) - count) / (count * (count - 1))
    return {"mean": min(max(round(mean, _DIGITS), -1.0), 1.0) + 0.0, "pairs": count * (count - 1) // 2}


def _square(vector: np.ndarray) -> float:
    return math.fsum((vector * vector).tolist())
