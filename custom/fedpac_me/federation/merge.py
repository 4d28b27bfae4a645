# SPDX-License-Identifier: Apache-2.0
"""The merge: shared layers by the sites' case counts, each expert by the mass routed to it.

With N_k the cases of site k, M_ke the mass it routed to expert e and Δ_k its update:
shared Σ N_k Δ_k / Σ N_k, expert e Σ M_ke Δ_ke / (κ + Σ M_ke). For one expert, or equal masses, this is FedAvg
(McMahan et al. 2017, algorithm 1). Running statistics: see ``moments``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fedpac_me.federation.fixed_point import STATISTIC_BITS, Check, FixedPointSum, Prepared
from fedpac_me.federation.schema import Schema, is_statistic

# Below this total mass (a thousandth of a case) the fixed-point resolution 2⁻³³ / mass would no longer be fine against
# a weight's update, and nobody has really used the expert: it is left as it is.
MIN_EXPERT_MASS = 2.0**-10

MASS, CASES_OF_USERS, CASES = "mass", "cases_of_users", "cases"
RULES = (MASS, CASES_OF_USERS, CASES)
"""What weighs a site's update of an expert: its mass there; all its cases if it used it; all its cases anyhow."""


Added = Sequence[tuple[FixedPointSum, Prepared]]


class ExpertWiseMerge:
    """Accumulates checked updates of one round in O(1) models of memory and in any order."""

    def __init__(self, schema: Schema, expert_rule: str = MASS, expert_prior: float = 0.0) -> None:
        """``expert_rule``: one of ``RULES``; ``expert_prior``: κ, cases' worth of no change in every expert's merge."""
        self._first_keys = [keys[0] for keys in schema.expert_keys]
        self._rule = expert_rule
        self._prior = expert_prior
        # The shared tensors, then each expert.
        self._groups = tuple(_sums_over(schema, keys) for keys in (schema.shared_keys, *schema.expert_keys))

    def has_room(self, cases: float, expert_mass: Sequence[float] | None = None) -> bool:
        """Whether one more site of this size stays within the proven range of the sums."""
        return all(total.has_room(weight) for total, weight in self._weighted(None, cases, expert_mass))

    def add(
        self,
        diff: Mapping[str, np.ndarray],
        cases: float,
        expert_mass: Sequence[float] | None = None,
        check: Check | None = None,
    ) -> Added:
        """Add one site's update; all of it or, after an error, nothing: the sums are the same to the byte.

        ``check`` sees every chunk of ``diff`` just before it is added, which saves reading the update twice; without
        it ``update.check`` must have accepted the values. Keys of experts with zero mass may be missing. Returns what
        ``retract`` takes.

        Raises:
            OverflowError: more cases in all than ``fixed_point.MAX_TOTAL_WEIGHT``.
            ValueError, KeyError: a wrong shape, weight or number of masses, a missing tensor.
        """
        weighted = list(self._weighted(diff, cases, expert_mass))
        prepared = [(total, total.prepare(diff, weight)) for total, weight in weighted if weight > 0]
        # A check looks at NaN without being surprised.
        with np.errstate(all="ignore"):
            if check is not None:
                for total in (total for total, weight in weighted if weight == 0):
                    total.inspect(diff, check)
            _commit_all(prepared, check)
        return prepared

    def retract(self, added: Added) -> None:
        """Take the last ``add`` back: the sums are what they were before it, to the byte."""
        for total, ready in added:
            total.retract(ready)

    def merge(self, other: ExpertWiseMerge) -> None:
        """Add what another merge of the same schema has gathered: the same bytes as one level; κ counts here only.

        Raises:
            ValueError: the schemas or the expert rules differ.
            OverflowError: more cases in all than ``fixed_point.MAX_TOTAL_WEIGHT``.
        """
        if other._rule != self._rule:
            raise ValueError(
                f"Only merges by the same expert rule can be merged, not '{self._rule}' and '{other._rule}'."
            )
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
        for group, sums in enumerate(self._groups):
            prior = self._prior if group else 0.0
            for total in sums:
                weight = total.total_weight
                if weight >= MIN_EXPERT_MASS:
                    means = total.means(release)
                    merged.update(means if not prior else _scaled(means, weight / (weight + prior)))
        return merged

    def _sums(self) -> Iterator[FixedPointSum]:
        return (total for sums in self._groups for total in sums)

    def _weighted(
        self, diff: Mapping[str, np.ndarray] | None, cases: float, expert_mass: Sequence[float] | None
    ) -> Iterator[tuple[FixedPointSum, float]]:
        weights = (cases, *expert_weights(self._rule, cases, expert_mass or ()))
        for group, (sums, weight) in enumerate(zip(self._groups, weights, strict=True)):
            for total in sums:
                yield total, 0 if self._left_out(group, diff) else weight

    def _left_out(self, group: int, diff: Mapping[str, np.ndarray] | None) -> bool:
        """Whether a site says nothing of an expert that its cases alone would give it a say in."""
        return self._rule == CASES and group > 0 and diff is not None and self._first_keys[group - 1] not in diff


def expert_weights(rule: str, cases: float, expert_mass: Sequence[float]) -> tuple[float, ...]:
    """The weight of a site's update of each expert under one of ``RULES``."""
    if rule == MASS:
        return tuple(expert_mass)
    return tuple(cases if mass > 0 or rule == CASES else 0 for mass in expert_mass)


def _scaled(means: dict[str, np.ndarray], factor: float) -> dict[str, np.ndarray]:
    return {name: np.asarray(value * np.float32(factor)) for name, value in means.items()}


def _commit_all(prepared: Added, check: Check | None) -> None:
    done: list[tuple[FixedPointSum, Prepared]] = []
    try:
        for total, ready in prepared:
            total.commit(ready, check)
            done.append((total, ready))
    except BaseException:
        for total, ready in done:
            total.retract(ready)
        raise


def _sums_over(schema: Schema, keys: Sequence[str]) -> tuple[FixedPointSum, FixedPointSum]:
    """The sums of a group: weights, and statistics, which are coarser but reach further."""
    weights = {name: schema.shapes[name] for name in keys if not is_statistic(name)}
    statistics = {name: schema.shapes[name] for name in keys if is_statistic(name)}
    return FixedPointSum(weights), FixedPointSum(statistics, STATISTIC_BITS)
