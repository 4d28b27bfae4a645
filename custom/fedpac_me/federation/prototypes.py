# SPDX-License-Identifier: Apache-2.0
"""Prototypes: what a region looks like to the network, over all sites, one an expert and region.

A site sends sums of unit vectors and how many they are, never a scan's own vector unless it has no other. With n_k of
them at site k the server keeps S ← d S + Σ_k s_k and C ← d C + Σ_k n_k; a prototype is the direction of S / C. That is
FedPCL's count-weighted mean (Tan et al. 2022, section 3), averaged exponentially over the rounds: with as many vectors
every round the old ones have the share d, and one that nobody confirms fades until it is too small to be published.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedpac_me.errors import InputError
from fedpac_me.federation.rejection import Rejected, show

CONTRAST_REGIONS = ("brain", "oedema", "necrosis", "enhancing")
"""What has an embedding: brain outside the tumour, and the tumour's parts. They do not overlap."""

MAX_COUNT = 2**30
MAX_DIMENSION = 1024
_MAX_PROTOTYPES = 64 * len(CONTRAST_REGIONS)
# What rounding may add to the length of a unit vector.
_TOLERANCE = 1e-3
# A mean shorter than this has no direction worth the name.
_SHORTEST = 1e-6


@dataclass(frozen=True)
class RegionSums:
    """One site's round: ``sums`` (E, R, D) float64 and ``counts`` (E, R) int64, R as ``CONTRAST_REGIONS``."""

    sums: np.ndarray
    counts: np.ndarray


def read_prototype_sums(
    meta: Mapping[str, Any], experts: int, dimension: int | None = None, most: int = MAX_COUNT
) -> RegionSums | None:
    """What a site's ``meta`` says under 'prototypes': {region: {'sum': a vector an expert, 'count': one an expert}}.

    Absent means ``None``.

    Args:
        meta: of the contribution, a dict of builtins.
        experts: of the model; a model without experts counts as one.
        dimension: of a vector; ``None`` takes any that is the same throughout.
        most: the largest count believed of one expert and region, such as the crops that the site can have seen.

    Raises:
        Rejected: anything else than that; a sum longer than ``count`` unit vectors can make it.
    """
    value = meta.get("prototypes") if type(meta) is dict else meta
    if value is None:
        return None
    if type(value) is not dict or len(value) != len(CONTRAST_REGIONS):
        raise Rejected(f"'prototypes' must be a dict with {', '.join(CONTRAST_REGIONS)}, got {show(value)}.")
    for name in value:
        if type(name) is not str or name not in CONTRAST_REGIONS:
            raise Rejected(f"'prototypes' must be of {', '.join(CONTRAST_REGIONS)}, got {show(name)}.")
    experts = max(experts, 1)
    counts, sums = [], []
    for region in CONTRAST_REGIONS:
        part = value[region]
        _check_part(region, part)
        counts.append(_read_counts(region, part["count"], experts, most))
        sums.append(_read_vectors(region, part["sum"], experts, dimension))
        dimension = len(sums[-1][0])
    found = RegionSums(np.array(sums, np.float64).transpose(1, 0, 2), np.array(counts, np.int64).T)
    _check_lengths(found)
    return found


def _check_part(region: str, part: object) -> None:
    if type(part) is not dict or len(part) != 2 or any(type(name) is not str for name in part):
        raise Rejected(f"The prototype sums of '{region}' must be a dict of 'sum' and 'count', got {show(part)}.")
    for name in ("sum", "count"):
        if name not in part:
            raise Rejected(f"The prototype sums of '{region}' lack '{name}'.")


def _read_counts(region: str, value: object, experts: int, most: int) -> list[int]:
    if type(value) not in (list, tuple) or len(value) != experts:
        raise Rejected(f"The counts of '{region}' must be a list of {experts} integers, got {_size(value)}.")
    for count in value:
        if type(count) is not int or not 0 <= count <= most:
            raise Rejected(f"A count of '{region}' must be an integer from 0 to {most}, got {show(count)}.")
    return list(value)


def _read_vectors(region: str, value: object, experts: int, dimension: int | None) -> list[list[float]]:
    if type(value) not in (list, tuple) or len(value) != experts:
        raise Rejected(f"The sums of '{region}' must be a list of {experts} vectors, got {_size(value)}.")
    for vector in value:
        if type(vector) not in (list, tuple) or not 1 <= len(vector) <= MAX_DIMENSION:
            raise Rejected(f"A sum of '{region}' must be a list of 1 to {MAX_DIMENSION} numbers, got {_size(vector)}.")
        dimension = len(vector) if dimension is None else dimension
        if len(vector) != dimension:
            raise Rejected(f"A sum of '{region}' must have {dimension} numbers, got {len(vector)}.")
        for number in vector:
            if type(number) is not float or not math.isfinite(number):
                raise Rejected(f"A sum of '{region}' must hold finite floats, got {show(number)}.")
    return [list(vector) for vector in value]


def _check_lengths(found: RegionSums) -> None:
    """Sums of ``count`` unit vectors; an absurd number overflows to an infinite length, which is too long as well."""
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(found.sums, axis=-1)
    long = np.argwhere(lengths > found.counts * (1 + _TOLERANCE))
    if long.size:
        expert, region = long[0]
        raise Rejected(
            f"The sum of '{CONTRAST_REGIONS[region]}' of expert {expert} has length {lengths[expert, region]:.9g}, "
            f"but {found.counts[expert, region]} unit vectors cannot be longer than their number."
        )


def _size(value: object) -> str:
    return f"{len(value)}" if type(value) in (list, tuple) else show(value)


class Prototypes:
    """The server's prototypes over the rounds. Sites are added up in order of their names, whenever they arrive.

    Args:
        minimum_count: vectors, as far as they have not faded, behind a prototype before it is published.
        decay: share of the old sums that each round keeps.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(self, minimum_count: float, decay: float) -> None:
        for name, value in (("minimum count", minimum_count), ("decay", decay)):
            if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
                raise InputError(f"The prototypes' {name} must be a number of at least 0, got {value!r}.")
        if decay >= 1:
            raise InputError(f"The prototypes' decay must be below 1, got {decay!r}.")
        self.minimum_count = minimum_count
        self.decay = decay
        self.drift: float | None = None
        """Mean cosine distance (0 to 2) of the last round's prototypes from those before it, where both exist."""
        self._gathered: dict[str, RegionSums] = {}
        self._sums = np.zeros((0, len(CONTRAST_REGIONS), 0))
        self._counts = np.zeros((0, len(CONTRAST_REGIONS)))

    def gather(self, site: str, sums: RegionSums) -> None:
        """Keep what ``read_prototype_sums`` gave until the round closes.

        Raises:
            Rejected: the site was heard in this round, or its vectors do not fit those of the others.
        """
        if site in self._gathered:
            raise Rejected(f"The prototype sums of {show(site)} have already been heard in this round.")
        for other in self._gathered.values():
            if other.sums.shape != sums.sums.shape:
                shape = (sums.sums.shape[0], sums.sums.shape[2])
                raise Rejected(
                    f"Prototype sums must be of {other.sums.shape[0]} experts with {other.sums.shape[2]} numbers, "
                    f"as those of the other sites, got {shape[0]} with {shape[1]}."
                )
        self._gathered[site] = sums

    def discard(self) -> None:
        """Forget what this round has gathered, for a round that does not count."""
        self._gathered = {}

    def close(self) -> None:
        """Merge the round's sums. A round in which nobody sent any changes nothing.

        Sums kept from before for another number of experts, or another dimension, are dropped.
        """
        gathered, self._gathered = self._gathered, {}
        self.drift = None
        if not gathered:
            return
        before = self._published()
        parts = [gathered[site] for site in sorted(gathered)]
        sums, counts = np.zeros(parts[0].sums.shape), np.zeros(parts[0].counts.shape)
        for part in parts:
            sums += part.sums
            counts += part.counts
        if self._sums.shape == sums.shape:
            sums += self.decay * self._sums
            counts += self.decay * self._counts
        self._sums, self._counts = sums, counts
        self.drift = _mean_distance(before, self._published())

    def to_meta(self) -> dict[str, Any] | None:
        """The prototypes for the broadcast, as builtins; ``None`` before any sums came."""
        if self._sums.size == 0:
            return None
        entries = [
            {"expert": expert, "region": CONTRAST_REGIONS[region], "vector": vector.tolist()}
            for (expert, region), vector in self._published().items()
        ]
        return {"dimension": self._sums.shape[2], "entries": entries}

    def state(self) -> dict[str, np.ndarray]:
        """A copy of the sums (E, R, D) and counts (E, R), float64, for a checkpoint."""
        return {"sums": self._sums.copy(), "counts": self._counts.copy()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what ``state`` gave.

        Raises:
            InputError: the entries are not finite float64 arrays that fit each other; nothing is loaded then.
        """
        sums, counts = state.get("sums"), state.get("counts")
        fit = all(type(value) is np.ndarray and value.dtype == np.float64 for value in (sums, counts))
        fit = fit and sums.ndim == 3 and sums.shape[1] == len(CONTRAST_REGIONS) and counts.shape == sums.shape[:2]
        if not fit or not np.isfinite(sums).all() or not np.isfinite(counts).all() or (counts < 0).any():
            raise InputError("The saved prototypes are not finite float64 sums and counts of the same experts.")
        self._sums, self._counts = sums.copy(), counts.copy()

    def _published(self) -> dict[tuple[int, int], np.ndarray]:
        """(expert, region) → unit vector, where enough is known."""
        lengths = np.linalg.norm(self._sums, axis=-1)
        known = (self._counts > 0) & (self._counts >= self.minimum_count) & (lengths > _SHORTEST * self._counts)
        return {(int(e), int(r)): self._sums[e, r] / lengths[e, r] for e, r in np.argwhere(known)}


def _mean_distance(before: dict[tuple[int, int], np.ndarray], now: dict[tuple[int, int], np.ndarray]) -> float | None:
    both = [key for key in now if key in before and before[key].shape == now[key].shape]
    if not both:
        return None
    return math.fsum(1 - float(before[key] @ now[key]) for key in both) / len(both)


def read_prototypes(meta: object, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    """What a site received from ``Prototypes.to_meta``: vectors (P, D) float32 and regions (P) int64, P may be 0.

    ``None`` means that there are no prototypes yet. ``dimension``: the site's own ``contrast.dimension``.

    Raises:
        InputError: the dimension differs, or it is no list of unit vectors.
    """
    if meta is None:
        meta = {"dimension": dimension, "entries": []}
    if type(meta) is not dict or type(meta.get("entries")) not in (list, tuple):
        raise InputError(f"The federation's prototypes must be a dict with a list 'entries', got {show(meta)}.")
    theirs, entries = meta.get("dimension"), meta["entries"]
    if type(theirs) is not int or theirs != dimension:
        raise InputError(
            f"The federation's prototypes have dimension {show(theirs)}, but contrast.dimension is {dimension} here: "
            "they come from an older checkpoint or another config. Start the run without it, or give both sides the "
            "same config."
        )
    if len(entries) > _MAX_PROTOTYPES:
        raise InputError(f"There can be {_MAX_PROTOTYPES} prototypes at most, the server sent {len(entries)}.")
    read = [_read_entry(entry, dimension) for entry in entries]
    vectors = np.array([vector for _, vector in read], np.float32).reshape(len(read), dimension)
    return vectors, np.array([region for region, _ in read], np.int64)


def _read_entry(entry: object, dimension: int) -> tuple[int, list[float]]:
    region = entry.get("region") if type(entry) is dict else entry
    if type(region) is not str or region not in CONTRAST_REGIONS:
        raise InputError(f"A prototype must be of one of {', '.join(CONTRAST_REGIONS)}, got {show(region)}.")
    vector = entry.get("vector")
    right = type(vector) in (list, tuple) and len(vector) == dimension
    right = right and all(type(number) is float for number in vector)
    # Written so that a NaN fails.
    if not right or not abs(math.hypot(*vector) - 1) <= _TOLERANCE:
        raise InputError(f"The prototype of '{region}' must be a unit vector of {dimension} floats.")
    return CONTRAST_REGIONS.index(region), list(vector)
