# SPDX-License-Identifier: Apache-2.0
"""The merge: shared layers by the sites' case counts, each expert by the mass routed to it.

With N_k the cases of site k, M_ke the mass it routed to expert e and Δ_k its update:
shared Σ N_k Δ_k / Σ N_k, expert e Σ M_ke Δ_ke / Σ M_ke. For one expert, or equal masses, this is FedAvg
(McMahan et al. 2017, algorithm 1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fedpac_me.federation.fixed_point import FixedPointSum
from fedpac_me.federation.schema import Schema

# Below this total mass (a thousandth of a case) the fixed-point resolution 2⁻³³ / mass would no longer be fine against
# a weight's update, and nobody has really used the expert: it is left as it is.
MIN_EXPERT_MASS = 2.0**-10


class ExpertWiseMerge:
    """Accumulates checked updates of one round in O(1) models of memory and in any order."""

    def __init__(self, schema: Schema) -> None:
        self._shared = _sum_over(schema, schema.shared_keys)
        self._experts = tuple(_sum_over(schema, keys) for keys in schema.expert_keys)

    def has_room(self, cases: int, expert_mass: Sequence[float] | None = None) -> bool:
        """Whether one more site of this size stays within the proven range of the sums."""
        return all(total.has_room(weight) for total, weight in self._weighted(cases, expert_mass))

    def add(self, diff: Mapping[str, np.ndarray], cases: int, expert_mass: Sequence[float] | None = None) -> None:
        """Add one site's update, which ``update.check`` has accepted; all of it or, after an error, nothing.

        Keys of experts with zero mass are not looked at and may be missing.

        Raises:
            OverflowError: more cases in all than ``fixed_point.MAX_TOTAL_WEIGHT``.
            ValueError, KeyError: a wrong shape, weight or number of masses, a missing tensor.
        """
        used = [(total, weight) for total, weight in self._weighted(cases, expert_mass) if weight > 0]
        prepared = [(total, total.prepare(diff, weight)) for total, weight in used]
        for total, ready in prepared:
            total.commit(ready)

    def merge(self, other: ExpertWiseMerge) -> None:
        """Add what another merge of the same schema has gathered: the same bytes as one level.

        Raises:
            ValueError: the schemas differ.
            OverflowError: more cases in all than ``fixed_point.MAX_TOTAL_WEIGHT``.
        """
        pairs = list(zip(self._sums(), other._sums(), strict=True))
        for mine, theirs in pairs:
            mine.check_mergeable(theirs)
        for mine, theirs in pairs:
            mine.merge(theirs)

    def result(self, release: bool = False) -> dict[str, np.ndarray]:
        """The merged difference as float32.

        Tensors of experts that nobody used are left out, so that the model keeps them bit by bit.
        With ``release`` each accumulator is freed as soon as its mean is taken; the merge is then spent.
        """
        merged: dict[str, np.ndarray] = {}
        if self._shared.total_weight > 0:
            merged.update(self._shared.means(release))
        for expert in self._experts:
            if expert.total_weight >= MIN_EXPERT_MASS:
                merged.update(expert.means(release))
        return merged

    def _sums(self) -> tuple[FixedPointSum, ...]:
        return (self._shared, *self._experts)

    def _weighted(self, cases: int, expert_mass: Sequence[float] | None) -> Iterator[tuple[FixedPointSum, float]]:
        weights = (cases, *(expert_mass or ()))
        return zip(self._sums(), weights, strict=True)


def _sum_over(schema: Schema, keys: Sequence[str]) -> FixedPointSum:
    return FixedPointSum({name: schema.shapes[name] for name in keys})
