# SPDX-License-Identifier: Apache-2.0
"""One site's checked claims and its update, on the way into a merge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from fedpac_me.federation.norm_bound import Clip


@dataclass(frozen=True)
class SiteUpdate:
    """``cases`` and ``expert_mass`` are its weights in the merge; keys of experts without mass may be missing."""

    site: str
    diff: Mapping[str, np.ndarray]
    cases: float
    expert_mass: tuple[float, ...] | None = None

    def clipped(self, clip: Clip) -> SiteUpdate:
        """The same with a shorter update; this one where nothing is cut."""
        return replace(self, diff=clip.applied(self.diff)) if clip.flag else self

    def counted_as(self, cases: float) -> SiteUpdate:
        """The same with fewer cases, and its masses fewer in proportion."""
        share = cases / self.cases
        masses = None if self.expert_mass is None else tuple(mass * share for mass in self.expert_mass)
        return replace(self, cases=cases, expert_mass=masses)
