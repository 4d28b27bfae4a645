# SPDX-License-Identifier: Apache-2.0
"""How the updates of a round come together: added at once, the largest sites' held back, or all of them held back.

Three classes with the same methods. ``add`` checks and takes an update completely or, whatever it raises, not at all;
``close`` gives the merged difference. Whichever it is, the order of arrival has no part in the bytes of the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from fedpac_me.federation.merge import ExpertWiseMerge
from fedpac_me.federation.norm_bound import Clip, NormBound, bounds_of, clip_at
from fedpac_me.federation.scan import Norms, Scan
from fedpac_me.federation.schema import Schema
from fedpac_me.federation.site_share import largest_count, most_above
from fedpac_me.federation.site_update import SiteUpdate


@dataclass(frozen=True)
class Merged:
    """The merged difference; ``flags``: what was done to a site's update; ``held``: what was left unmerged."""

    diff: dict[str, np.ndarray]
    flags: dict[str, str] = field(default_factory=dict)
    held: tuple[str, ...] = ()


class Gathering(Protocol):
    """One round's updates."""

    def has_room(self, cases: int, expert_mass: Sequence[float] | None) -> bool:
        """Whether one more site of this size fits."""

    def add(self, update: SiteUpdate, scan: Scan, bound: NormBound) -> Clip:
        """Show every value to ``scan``, cut the update to ``bound`` and take it; raises ``Rejected``."""

    def close(self) -> Merged:
        """The result; the gathering is then spent."""


class AddedAtOnce:
    """Every update is added when it arrives and forgotten: memory does not grow with the sites."""

    def __init__(self, merge: ExpertWiseMerge) -> None:
        self.merge = merge

    def has_room(self, cases: int, expert_mass: Sequence[float] | None) -> bool:
        """See ``Gathering``."""
        return self.merge.has_room(cases, expert_mass)

    def add(self, update: SiteUpdate, scan: Scan, bound: NormBound) -> Clip:
        """See ``Gathering``. The length is known only when all is added: a longer update is taken back and cut."""
        added = self.merge.add(update.diff, update.cases, update.expert_mass, scan)
        clip = bound.clip(scan.norms)
        if clip.flag:
            self.merge.retract(added)
            self.take(update.clipped(clip))
        return clip

    def take(self, update: SiteUpdate) -> None:
        """Add an update that needs no more checks."""
        self.merge.add(update.diff, update.cases, update.expert_mass)

    def close(self) -> Merged:
        """See ``Gathering``."""
        return Merged(self.merge.result(release=True))


class LargestHeldBack:
    """No site's cases exceed ``share`` of all that enter the merge: see ``site_share``.

    Only the ⌊1/share⌋ largest sites can, so only their updates are held until the end; a smaller one is added as soon
    as it is known to be smaller.
    """

    def __init__(self, inner: AddedAtOnce, schema: Schema, share: float) -> None:
        self._inner = inner
        self._schema = schema
        self._share = share
        self._cases: list[float] = []
        self._held: list[SiteUpdate] = []

    def has_room(self, cases: int, expert_mass: Sequence[float] | None) -> bool:
        """See ``Gathering``."""
        return _room_beside(self._held, self._inner, cases, expert_mass)

    def add(self, update: SiteUpdate, scan: Scan, bound: NormBound) -> Clip:
        """See ``Gathering``."""
        clip = looked_over(update, self._schema, scan, bound)
        self.take(update.clipped(clip))
        return clip

    def take(self, update: SiteUpdate) -> None:
        """Hold an update that needs no more checks, and add the one that is no longer among the largest."""
        kept = sorted([*self._held, update], key=lambda held: (-held.cases, held.site))
        most = most_above(self._share)
        for small in kept[most:]:
            self._inner.take(small)
        self._held = kept[:most]
        self._cases.append(update.cases)

    def close(self) -> Merged:
        """See ``Gathering``."""
        largest = largest_count(self._cases, self._share)
        flags: dict[str, str] = {}
        for update in self._held:
            if update.cases > largest:
                flags[update.site] = f"counted as {largest:.7g} of its {update.cases} cases"
                update = update.counted_as(largest)
            self._inner.take(update)
        self._held = []
        return Merged(self._inner.close().diff, flags)


class AllHeldForTheirNorms:
    """Norm clipping alone: updates are cut to ``factor`` times the median length of their own round, then merged.

    All of them are held until the end, so memory grows with the sites.
    """

    def __init__(self, inner: AddedAtOnce | LargestHeldBack, schema: Schema, factor: float) -> None:
        self._inner = inner
        self._schema = schema
        self._factor = factor
        self._held: list[tuple[SiteUpdate, Norms]] = []

    def has_room(self, cases: int, expert_mass: Sequence[float] | None) -> bool:
        """See ``Gathering``."""
        return _room_beside([update for update, _ in self._held], self._inner, cases, expert_mass)

    def add(self, update: SiteUpdate, scan: Scan, bound: NormBound) -> Clip:
        """See ``Gathering``."""
        clip = looked_over(update, self._schema, scan, bound)
        self._held.append((update, scan.norms))
        return clip

    def close(self) -> Merged:
        """See ``Gathering``."""
        bounds = bounds_of([norms for _, norms in self._held], self._factor)
        flags: dict[str, str] = {}
        while self._held:
            update, norms = self._held.pop()
            clip = clip_at(norms, *bounds)
            if clip.flag:
                flags[update.site] = clip.flag
            self._inner.take(update.clipped(clip))
        merged = self._inner.close()
        both = {site: "; ".join(f[site] for f in (flags, merged.flags) if site in f) for site in flags | merged.flags}
        return Merged(merged.diff, both)


def looked_over(update: SiteUpdate, schema: Schema, scan: Scan, bound: NormBound) -> Clip:
    """Show all of an update to ``scan``; what the bound of earlier rounds makes of it."""
    scan.look_over(update.diff, (name for name in schema.names if name in update.diff))
    return bound.clip(scan.norms)


def _room_beside(
    held: Sequence[SiteUpdate], inner: AddedAtOnce | LargestHeldBack, cases: int, expert_mass: Sequence[float] | None
) -> bool:
    """Whether one more site fits once those held are added too; a spare case is for the rounding of the masses."""
    total = cases + sum(update.cases for update in held) + 1
    return inner.has_room(total, None if expert_mass is None else [total] * len(expert_mass))
