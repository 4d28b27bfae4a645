# SPDX-License-Identifier: Apache-2.0
"""How a federation merges: its rules, checked, and what a round begins with under them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedpac_me.errors import InputError
from fedpac_me.federation.gathering import AddedAtOnce, AllHeldForTheirNorms, Gathering, LargestHeldBack
from fedpac_me.federation.merge import MASS, RULES, ExpertWiseMerge
from fedpac_me.federation.norm_bound import NormBound
from fedpac_me.federation.robust import NONE, NORM_CLIPPING, ROBUST_RULES, sites_needed
from fedpac_me.federation.robust_merge import RobustMerge
from fedpac_me.federation.schema import Schema


@dataclass(frozen=True)
class MergeRules:
    """Builtins only; see ``config.FederationConfig`` for what each is.

    Raises:
        InputError: a rule is unknown or out of range, or two of them exclude each other.
    """

    expert_merge: str = MASS
    expert_prior: float = 0.0
    max_site_share: float = 1.0
    clip_norm_factor: float = 0.0
    clip_norm_first: float = 0.0
    robust: str = NONE
    hostile_sites: int = 1

    def __post_init__(self) -> None:
        for name, known in (("expert_merge", RULES), ("robust", ROBUST_RULES)):
            if getattr(self, name) not in known:
                raise InputError(f"'{name}' must be one of {', '.join(known)}, got {getattr(self, name)!r}.")
        if not 0 < self.max_site_share <= 1:
            raise InputError(f"'max_site_share' must be above 0 and at most 1, got {self.max_site_share!r}.")
        if not 0 <= self.expert_prior < math.inf:
            raise InputError(f"'expert_prior' must be at least 0, got {self.expert_prior!r}.")
        if type(self.hostile_sites) is not int or self.hostile_sites < 0:
            raise InputError(f"'hostile_sites' must be an integer of at least 0, got {self.hostile_sites!r}.")
        NormBound(self.clip_norm_factor, self.clip_norm_first)
        if self.robust == NORM_CLIPPING and not self.clip_norm_factor:
            raise InputError("'robust' is 'norm_clipping', which needs a 'clip_norm_factor' of at least 1.")
        if self.robust not in (NONE, NORM_CLIPPING) and self.max_site_share < 1:
            raise InputError(
                f"'robust' is '{self.robust}', which gives every site one vote whatever its cases: leave "
                "'max_site_share' out."
            )

    def check_quorum(self, quorum: int) -> None:
        """Raise ``InputError`` where a round of ``quorum`` updates would be too small for the robust rule."""
        needed = sites_needed(self.robust, self.hostile_sites)
        if self.robust != NONE and quorum < needed:
            raise InputError(
                f"'robust' is '{self.robust}', which withstands {self.hostile_sites} hostile sites among {needed} or "
                f"more: 'quorum' must be at least {needed}, got {quorum}."
            )

    def norm_bound(self) -> NormBound:
        """The bound from earlier rounds; none where a round's updates are cut by their own median."""
        return NormBound() if self.robust == NORM_CLIPPING else NormBound(self.clip_norm_factor, self.clip_norm_first)

    def opened(self, schema: Schema) -> Gathering:
        """What a round's updates go into."""
        if self.robust not in (NONE, NORM_CLIPPING):
            return RobustMerge(schema, self.robust, self.hostile_sites, self.expert_merge, self.expert_prior)
        gathering = AddedAtOnce(ExpertWiseMerge(schema, self.expert_merge, self.expert_prior))
        if self.max_site_share < 1:
            gathering = LargestHeldBack(gathering, schema, self.max_site_share)
        if self.robust == NORM_CLIPPING:
            return AllHeldForTheirNorms(gathering, schema, self.clip_norm_factor)
        return gathering
