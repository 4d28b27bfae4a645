# SPDX-License-Identifier: Apache-2.0
"""Which expert speaks for a scan: the one whose key is nearest to the scan's style.

The keys are found by all sites together before the first round (``federation.keys``) and then frozen. They are buffers
of the network, so they travel, are saved and are loaded with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fedpac_me.config import RouterConfig
from fedpac_me.data.style import STYLE, known_figures
from fedpac_me.federation.keys import CLIP, RouterKeys, site_mean, standardise
from fedpac_me.federation.kmeans import square_distances
from fedpac_me.labels import MODALITIES
from fedpac_me.model.gate import SOFTNESS, Gate


@dataclass(frozen=True)
class Routing:
    """Who speaks for one scan.

    Attributes:
        expert: the nearest one, on whom the scan trains.
        second: the next; ``None`` where nobody asked.
        distance: to the nearest key; above 1 is farther than every training scan of that key's expert.
        gates: weight of each expert (E, sums to 1), or ``None`` where ``expert`` alone speaks.
        candidates: experts of which the surest of its own answer is to speak; empty where that is settled.
        by_scan: whether batch normalisation takes the statistics of the scan at hand, not those that were kept.
    """

    expert: int
    second: int | None = None
    distance: float = 0.0
    gates: tuple[float, ...] | None = None
    candidates: tuple[int, ...] = ()
    by_scan: bool = False

    @property
    def far(self) -> bool:
        """Whether the scan lies outside of what the federation trained on."""
        return self.distance > 1

    def by_second(self) -> Routing:
        """The same scan if its expert were knocked out."""
        return Routing(self.expert if self.second is None else self.second, by_scan=self.by_scan)


class Router(nn.Module):
    """Frozen keys and the rule that reads them."""

    def __init__(self, experts: int, config: RouterConfig) -> None:
        super().__init__()
        self.config = config
        for name, value in RouterKeys.blank(experts, len(STYLE)).arrays().items():
            self.register_buffer(name, torch.from_numpy(value))
        self.gate = Gate(config.refine, experts, len(STYLE)) if config.refine != "nothing" else None

    def load(self, keys: RouterKeys) -> None:
        """Take over what the federation found. Raises ``ValueError`` when the numbers of experts differ."""
        for name, value in keys.arrays().items():
            own = getattr(self, name)
            if own.shape != value.shape:
                raise ValueError(f"the router's {name} is {tuple(own.shape)}, the keys that were found {value.shape}")
            own.copy_(torch.from_numpy(value))

    def route(self, style: np.ndarray) -> Routing:
        """Who speaks for the scan of this ``style`` (S)."""
        return self._route(style.astype(np.float64), known_figures(style))

    def _route(self, style: np.ndarray, known: np.ndarray) -> Routing:
        distances = self._distances(style, known)
        order = self._order(style, distances)
        first, second = order[0], order[min(1, len(order) - 1)]
        distance = float(distances[first] / float(self.radius[first]))
        if distance > 1 and self.config.far == "average":
            return Routing(first, second, distance, tuple(self._share().tolist()))
        if distance > 1 and self.config.far == "surest":
            return Routing(first, second, distance, candidates=tuple(order))
        gates = self._soft_gates(distances, first) if self.config.soft else None
        return Routing(first, second, distance, gates)

    def route_site(self, styles: np.ndarray, trained: bool) -> Routing:
        """Who speaks for all scans of a site (``styles`` n, S) where an expert stands for a site."""
        known = known_figures(styles)
        routing = self._route(site_mean(styles.astype(np.float64), known), known.any(0))
        borrowed = None if trained or self.config.unseen == "nearest" else tuple(self._share().tolist())
        by_scan = not trained and self.config.unseen_statistics == "scan"
        return Routing(routing.expert, routing.second, routing.distance, borrowed, by_scan=by_scan)

    def gates(self, styles: torch.Tensor) -> torch.Tensor:
        """Soft gates (E) of scans of ``styles`` (n, S) together; the gate's gradient flows through them."""
        return torch.softmax(-SOFTNESS * self.scores(styles), 1).mean(0)

    def scores(self, styles: torch.Tensor) -> torch.Tensor:
        """The gate's scores (n, E) of ``styles`` (n, S); the smallest decides."""
        rows = styles.reshape(len(styles), len(MODALITIES), -1)
        known = (rows[..., :1] > 0).expand_as(rows).reshape(styles.shape).to(styles)
        values = ((styles - self.mean) / self.scale).clamp(-CLIP, CLIP)
        return self.gate.scores(values, known, self.keys, self.known, self.radius.mean())

    def _order(self, style: np.ndarray, distances: np.ndarray) -> list[int]:
        """Experts, the nearest first."""
        if self.gate is not None:
            with torch.no_grad():
                distances = self.scores(torch.from_numpy(style).to(self.keys)[None])[0].cpu().numpy()
        return np.argsort(distances, kind="stable").tolist()

    def _distances(self, style: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Root mean squared difference (E) from the keys."""
        values = standardise(style, _numpy(self.mean), _numpy(self.scale))[None]
        return np.sqrt(square_distances(values, known[None], _numpy(self.keys), _numpy(self.known) > 0)[0])

    def _soft_gates(self, distances: np.ndarray, first: int) -> tuple[float, ...]:
        nearest = max(float(distances[first]), float(self.radius[first])) ** 2
        logits = np.log(np.maximum(self._share(), 1e-3)) - SOFTNESS * (distances**2 - distances[first] ** 2) / nearest
        gates = np.exp(logits - logits.max())
        return tuple((gates / gates.sum()).tolist())

    def _share(self) -> np.ndarray:
        share = _numpy(self.share)
        return share / share.sum()


def _numpy(buffer: torch.Tensor) -> np.ndarray:
    return buffer.detach().cpu().numpy().astype(np.float64)
