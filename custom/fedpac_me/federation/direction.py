# SPDX-License-Identifier: Apache-2.0
"""Which site pulls the shared layers against all the others? A flag for whoever reads the ledger, not a defence.

Of every update a sample of about ``SAMPLE`` shared weights is kept, the same share from the start of every tensor, at
length 1. A site is flagged when the others agree among themselves and it pulls the other way: their mean cosine is
further above 0, and its cosine with their sum further below, than chance would have it (0 ± 1/√n for random directions
in n dimensions). Where training has come to rest the updates cancel, nobody agrees, and nobody is flagged, unless one
hospital balances others that are alike. A site that knows the sample can hide from it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

import numpy as np

from fedpac_me.federation.schema import Schema, is_statistic

SAMPLE = 2**13
DEVIATIONS = 5.0
FEWEST_SITES = 3

_log = logging.getLogger(__name__)


class Directions:
    """The directions of one round's accepted updates, in any order. No method raises."""

    def __init__(self, schema: Schema | None = None) -> None:
        """``schema``: of the round's model; without one nothing is noted."""
        shapes = schema.shapes if schema is not None else {}
        names = schema.shared_keys if schema is not None else ()
        sizes = {name: math.prod(shapes[name]) for name in names if not is_statistic(name)}
        share = min(1.0, SAMPLE / max(sum(sizes.values()), 1))
        self._counts = {name: math.ceil(share * size) for name, size in sizes.items()}
        self._samples: dict[str, np.ndarray] = {}

    def add(self, site: str, diff: Mapping[str, np.ndarray]) -> None:
        """Note an update whose values have been checked."""
        try:
            parts = [diff[name].reshape(-1)[:count] for name, count in self._counts.items()]
            sample = np.concatenate(parts, dtype=np.float64) if parts else np.empty(0)
            length = math.sqrt(_product(sample, sample))
            if length > 0:
                self._samples[site] = sample / length
        except Exception:
            # Memory can run out; a flag less must not cost a round its updates.
            _log.exception("The direction of an update could not be noted")

    def flags(self) -> dict[str, str]:
        """For each site that points against the others, in words how much."""
        if len(self._samples) < FEWEST_SITES:
            return {}
        total = sum(self._samples[site] for site in sorted(self._samples))
        found: dict[str, str] = {}
        for site in sorted(self._samples):
            sample = self._samples[site]
            others, count = total - sample, len(self._samples) - 1
            square, chance = _product(others, others), DEVIATIONS / math.sqrt(sample.size)
            agreement = (square - count) / (count * (count - 1))
            if agreement > chance and (cosine := _product(sample, others) / math.sqrt(square)) < -chance:
                found[site] = f"points against the others (cosine {cosine:.2f})"
        return found


def _product(one: np.ndarray, other: np.ndarray) -> float:
    """Without BLAS, which wakes its threads for as little as this."""
    return float(np.sum(one * other))
