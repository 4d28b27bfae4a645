# SPDX-License-Identifier: Apache-2.0
"""A round merged by a robust rule: the shared layers over all sites, each expert over those that used it.

Weights and running statistics of a group are two vectors to a rule, since they are on different scales. All updates
are held until the round closes: memory grows with the sites. A rule looks at every site's update in the clear, so it
excludes homomorphic encryption, which shows the server nothing but sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fedpac_me.federation.gathering import Merged, looked_over
from fedpac_me.federation.layout import chunks
from fedpac_me.federation.merge import MIN_EXPERT_MASS, expert_weights
from fedpac_me.federation.norm_bound import Clip, NormBound
from fedpac_me.federation.robust import MEDIAN, TRIMMED_MEAN, middle, site_weights, sites_needed, squared_distances
from fedpac_me.federation.scan import Scan
from fedpac_me.federation.schema import Schema, is_statistic
from fedpac_me.federation.site_update import SiteUpdate

Diffs = Sequence[Mapping[str, np.ndarray]]


class RobustMerge:
    """A ``gathering.Gathering`` whose merge is one of ``robust.ROBUST_RULES`` that give every site one vote.

    A site votes on an expert when it has a weight there (see ``merge.RULES``). An expert with votes, but fewer than
    the rule needs, is left as it is, and the result says so.
    """

    def __init__(self, schema: Schema, rule: str, hostile: int, expert_rule: str, expert_prior: float) -> None:
        self._schema = schema
        self._rule = rule
        self._hostile = hostile
        self._expert_rule = expert_rule
        self._prior = expert_prior
        self._held: list[SiteUpdate] = []

    def has_room(self, cases: int, expert_mass: Sequence[float] | None) -> bool:
        """Votes are not counted in cases: there is always room."""
        return True

    def add(self, update: SiteUpdate, scan: Scan, bound: NormBound) -> Clip:
        """See ``gathering.Gathering``."""
        clip = looked_over(update, self._schema, scan, bound)
        self._held.append(update.clipped(clip))
        return clip

    def close(self) -> Merged:
        """See ``gathering.Gathering``; the same bytes for every order of arrival, since sites are sorted by name."""
        updates = sorted(self._held, key=lambda update: update.site)
        self._held = []
        merged: dict[str, np.ndarray] = {}
        left: list[str] = []
        needed = sites_needed(self._rule, self._hostile)
        for group, names in enumerate((self._schema.shared_keys, *self._schema.expert_keys)):
            voters = [(update, weight) for update in updates if (weight := self._weight(update, group, names))]
            if 0 < len(voters) < needed:
                what = f"Expert {group - 1} was" if group else "The shared layers were"
                left.append(f"{what} moved by {len(voters)} sites, {self._rule} needs {needed}: left unchanged.")
            elif voters:
                weight = math.fsum(weight for _, weight in voters)
                kept = weight / (weight + self._prior) if group else 1.0
                merged |= self._merged(names, [update.diff for update, _ in voters], kept)
        return Merged(merged, held=tuple(left))

    def _weight(self, update: SiteUpdate, group: int, names: Sequence[str]) -> float:
        """What the site has to say of a group of tensors; 0: nothing."""
        if any(name not in update.diff for name in names):
            return 0.0
        weights = (update.cases, *expert_weights(self._expert_rule, update.cases, update.expert_mass or ()))
        return weights[group] if weights[group] >= MIN_EXPERT_MASS else 0.0

    def _merged(self, names: Sequence[str], diffs: Diffs, kept: float) -> dict[str, np.ndarray]:
        """The rule's answer for the tensors ``names``, times ``kept``, as float32."""
        found: dict[str, np.ndarray] = {}
        for part in (
            [name for name in names if not is_statistic(name)],
            [name for name in names if is_statistic(name)],
        ):
            weights = None if self._rule in (MEDIAN, TRIMMED_MEAN) else self._site_weights(part, diffs)
            for name in part:
                flat = [
                    middle(self._rule, stack, self._hostile) if weights is None else weights @ stack
                    for stack in _stacks(name, diffs)
                ]
                value = np.concatenate(flat) * kept if flat else np.empty(0)
                found[name] = value.astype(np.float32).reshape(self._schema.shapes[name])
        return found

    def _site_weights(self, names: Sequence[str], diffs: Diffs) -> np.ndarray:
        products = np.zeros((len(diffs), len(diffs)))
        for name in names:
            for stack in _stacks(name, diffs):
                products += stack @ stack.T
        return site_weights(self._rule, squared_distances(products), self._hostile)


def _stacks(name: str, diffs: Diffs) -> Iterator[np.ndarray]:
    """A tensor of every site, chunk by chunk: [sites, values] in float64."""
    flat = [diff[name].reshape(-1) for diff in diffs]
    for part in chunks(flat[0].size):
        yield np.stack([values[part] for values in flat]).astype(np.float64)
