# SPDX-License-Identifier: Apache-2.0
"""Finding the experts' keys together before the first round: federated k-means (k-FED, Dennis et al. 2021).

The server asks, every site answers with sums and counts, never with a scan's own style alone unless it has no other:
``sums`` to standardise the figures; ``centres``, each site's own clusters; then a few times ``members``, the sums of
the scans nearest to each key (Lloyd's step, exact over all sites). Where an expert stands for a site its key is the
site's mean, and ``centres`` is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from fedpac_me.errors import InputError
from fedpac_me.federation.kmeans import Points, kmeans, square_distances
from fedpac_me.federation.rejection import Rejected, show

CLIP = 4.0
"""Standardised figures stay within ±4: one odd scan must not decide a key."""

SUMS, CENTRES, MEMBERS = "sums", "centres", "members"
REFINEMENTS = 3
_SMALLEST_SCALE = 0.05
_FEWEST_A_CLUSTER = 3
_MOST_SCANS = 2**20
_LARGEST = 1e9

Answer = dict[str, np.ndarray]


@dataclass(frozen=True)
class RouterKeys:
    """What a router needs, float32: ``mean`` and ``scale`` (S) standardise; ``keys`` and ``known`` (E, S), the latter
    0 or 1; ``radius`` (E), the largest distance of a training scan from its key; ``share`` (E) of all training scans.
    """

    mean: np.ndarray
    scale: np.ndarray
    keys: np.ndarray
    known: np.ndarray
    radius: np.ndarray
    share: np.ndarray

    @classmethod
    def blank(cls, experts: int, figures: int) -> RouterKeys:
        """Before anything was found: every scan goes to expert 0."""
        ones = np.ones((experts, figures), np.float32)
        return cls(ones[0] * 0, ones[0], ones * 0, ones, ones[:, 0], ones[:, 0] / experts)

    def arrays(self) -> dict[str, np.ndarray]:
        """The fields by name, float32."""
        return {field.name: np.array(getattr(self, field.name), np.float32) for field in fields(self)}


def answer(
    question: Mapping[str, Any], styles: np.ndarray, known: np.ndarray, local_clusters: int, seed: int
) -> Answer:
    """A site's answer about the ``styles`` (n, S) of its training scans, of which ``known`` (n, S) say something."""
    values, weight = styles.astype(np.float64), known.astype(np.float64)
    mean = site_mean(values, known)
    if question["ask"] == SUMS:
        return {
            "sum": (weight * values).sum(0), "squares": (weight * values**2).sum(0), "known": weight.sum(0),
            "scans": np.array(float(len(values))),
        }  # fmt: skip
    values = standardise(values, question["mean"], question["scale"])
    if question["ask"] == CENTRES:
        points = Points(values, known, np.ones(len(values)))
        clusters = max(1, min(local_clusters, len(values) // _FEWEST_A_CLUSTER))
        centres, centres_known = kmeans(points, clusters, seed)
        nearest = square_distances(values, known, centres, centres_known).argmin(1)
        counts = np.bincount(nearest, minlength=len(centres)).astype(np.float64)
        return {"keys": centres, "known": centres_known.astype(np.float64), "scans": counts}
    squares = square_distances(values, known, question["keys"], question["known"] > 0)
    nearest = squares.argmin(1)
    if question["whole_site"]:
        own = standardise(mean, question["mean"], question["scale"])[None]
        nearest[:] = square_distances(own, known.any(0)[None], question["keys"], question["known"] > 0).argmin()
    experts = range(len(question["keys"]))
    members = [nearest == expert for expert in experts]
    return {
        "sum": np.stack([(weight[m] * values[m]).sum(0) for m in members]),
        "known": np.stack([weight[m].sum(0) for m in members]),
        "scans": np.array([float(m.sum()) for m in members]),
        "radius": np.array([float(np.sqrt(squares[m, e].max())) if m.any() else 0.0 for e, m in enumerate(members)]),
    }


def standardise(styles: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Styles (…S) on the federation's common scale, within ±``CLIP``."""
    return np.clip((styles - mean) / scale, -CLIP, CLIP)


def site_mean(styles: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Mean style (S) of a site's scans (n, S), each figure over the scans that know it."""
    return np.where(known, styles, 0.0).sum(0) / np.maximum(known.sum(0), 1)


class KeySearch:
    """The server's side: what to ask next, what the answers come to. Sites' answers are added in order of their names.

    Args:
        experts: how many keys to find.
        by_site: an expert stands for a site, not for a style.
        figures: numbers in a style.
        seed: of the k-means.
    """

    def __init__(self, experts: int, by_site: bool, figures: int, seed: int) -> None:
        self.experts = experts
        self.by_site = by_site
        self._figures = figures
        self._seed = seed
        self._steps = [SUMS, *([] if by_site else [CENTRES]), *[MEMBERS] * (1 if by_site else 1 + REFINEMENTS)]
        self._answers: dict[str, Answer] = {}
        self._found: dict[str, np.ndarray] = {}

    @property
    def question(self) -> dict[str, Any] | None:
        """What to ask the sites now; ``None`` when all is known."""
        return {"ask": self._steps[0], "whole_site": self.by_site, **self._found} if self._steps else None

    def accept(self, site: str, given: object) -> None:
        """Keep a site's answer. Raises ``Rejected`` with a sentence when it is none."""
        if not self._steps:
            raise Rejected(f"{show(site)} answered when nothing was asked.")
        self._answers[site] = _checked(self._steps[0], given, self.experts, self._figures)

    def close(self) -> None:
        """Put the answers together and go on to the next question.

        Raises:
            InputError: nobody answered, or there are fewer styles or sites than experts.
        """
        if not self._answers:
            raise InputError("No site with training scans said anything about their style, so no expert has a key.")
        {SUMS: self._standardise, CENTRES: self._cluster, MEMBERS: self._refine}[self._steps.pop(0)]()
        self._answers = {}

    def result(self) -> RouterKeys:
        """The keys, once ``question`` is ``None``."""
        return RouterKeys(**self._found)

    def _standardise(self) -> None:
        total, squares, known = (self._summed(name) for name in ("sum", "squares", "known"))
        mean = total / np.maximum(known, 1)
        scale = np.sqrt(np.maximum(squares / np.maximum(known, 1) - mean**2, 0))
        # A figure that hardly varies must not be blown up; the presence bits of a complete federation do not at all.
        varying = scale[scale > 0]
        floor = _SMALLEST_SCALE * float(np.median(varying)) if varying.size else 1.0
        self._found = {"mean": mean, "scale": np.maximum(scale, floor)}
        if self.by_site:
            self._keys_of_sites()

    def _keys_of_sites(self) -> None:
        if len(self._answers) != self.experts:
            raise InputError(
                f"An expert stands for a site and {len(self._answers)} sites train, but model.experts is "
                f"{self.experts}. Set it to {len(self._answers)}."
            )
        parts = [self._answers[site] for site in sorted(self._answers)]
        means = np.stack([part["sum"] / np.maximum(part["known"], 1) for part in parts])
        keys = standardise(means, self._found["mean"], self._found["scale"])
        self._found |= {"keys": keys, "known": np.stack([part["known"] > 0 for part in parts]).astype(np.float64)}

    def _cluster(self) -> None:
        parts = [self._answers[site] for site in sorted(self._answers)]
        values, known, weights = (np.concatenate([part[name] for part in parts]) for name in ("keys", "known", "scans"))
        used = weights > 0
        keys, keys_known = kmeans(Points(values[used], known[used] > 0, weights[used]), self.experts, self._seed)
        if len(keys) < self.experts:
            raise InputError(
                f"The {weights.sum():.0f} training scans of all sites show {len(keys)} different styles, but "
                f"model.experts is {self.experts}. Lower model.experts, or raise router.local_clusters: a site reports "
                f"so many styles, but one for every {_FEWEST_A_CLUSTER} of its training scans at most."
            )
        self._found |= {"keys": keys, "known": keys_known.astype(np.float64)}

    def _refine(self) -> None:
        scans = self._summed("scans")
        if not self.by_site:
            self._require_used(scans)
            total, known = self._summed("sum"), self._summed("known")
            # Where the last question measured the radii, the keys stay what they were measured from.
            if self._steps:
                self._found |= {"keys": total / np.maximum(known, 1), "known": (known > 0).astype(np.float64)}
        radius = np.max([part["radius"] for part in self._answers.values()], axis=0)
        if not self._steps:
            # An expert of one or two scans knows next to nothing of its own spread.
            floor = max(0.5 * float(radius.max()), 1e-3)
            self._found |= {"radius": np.maximum(radius, floor), "share": scans / scans.sum()}

    def _require_used(self, scans: np.ndarray) -> None:
        unused = np.flatnonzero(scans == 0)
        if unused.size:
            raise InputError(
                f"{unused.size} of {self.experts} keys attract no training scan: the keys collapse. "
                "Lower model.experts."
            )

    def _summed(self, name: str) -> np.ndarray:
        return np.sum([self._answers[site][name] for site in sorted(self._answers)], axis=0)


def _checked(ask: str, given: object, experts: int, figures: int) -> Answer:
    """The answer to ``ask`` as float64 arrays. Raises ``Rejected``."""
    shapes: dict[str, dict[str, tuple[int | None, ...]]] = {
        SUMS: {"sum": (figures,), "squares": (figures,), "known": (figures,), "scans": ()},
        CENTRES: {"keys": (None, figures), "known": (None, figures), "scans": (None,)},
        MEMBERS: {"sum": (experts, figures), "known": (experts, figures), "scans": (experts,), "radius": (experts,)},
    }
    if type(given) is not dict or given.keys() != shapes[ask].keys():
        raise Rejected(f"The answer to '{ask}' must hold {', '.join(shapes[ask])}, got {show(given)}.")
    checked = {name: _checked_array(name, given[name], shape) for name, shape in shapes[ask].items()}
    if len({len(value) for value in checked.values() if value.ndim and ask == CENTRES}) > 1:
        raise Rejected("The site's centres, what they know and their counts must be equally many.")
    if not 0 < float(checked["scans"].sum()) <= _MOST_SCANS or min(checked["scans"].min(), checked["known"].min()) < 0:
        raise Rejected(f"Counts of scans must be at least 0 and sum to 1 to {_MOST_SCANS}.")
    return checked


def _checked_array(name: str, value: object, shape: tuple[int | None, ...]) -> np.ndarray:
    right = type(value) is np.ndarray and value.dtype == np.float64 and value.ndim == len(shape)
    if not right or any(want not in (None, got) for want, got in zip(shape, value.shape, strict=True)):
        raise Rejected(f"'{name}' must be a float64 array of shape {shape}, got {show(value)}.")
    if value.size > 2**16 or not np.all(np.abs(value) <= _LARGEST):
        raise Rejected(f"'{name}' must be finite and of reasonable size.")
    return value
