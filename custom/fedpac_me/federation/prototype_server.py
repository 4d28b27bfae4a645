# SPDX-License-Identifier: Apache-2.0
"""Prototypes on the server: read from an update with suspicion, kept by round, sent out with the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedpac_me.config import Config
from fedpac_me.federation.prototypes import Prototypes, RegionSums, read_prototype_sums


def prototype_arguments(config: Config) -> dict[str, Any] | None:
    """The arguments of ``PrototypeServer`` that ``config`` asks for, builtins; ``None`` where it has no prototypes."""
    contrast = config.contrast
    if not contrast.prototype_weight:
        return None
    return {
        "experts": config.model.experts,
        "dimension": contrast.dimension,
        "batch": config.learning.batch,
        "minimum_count": contrast.minimum_count,
        "decay": contrast.decay,
    }


class PrototypeServer:
    """The prototypes of one federation.

    Args:
        experts: of the model; 1 where it has none.
        dimension: of an embedding.
        batch: crops in a step, which bounds what a site can have seen.
        minimum_count, decay: see ``prototypes.Prototypes``.
    """

    def __init__(self, experts: int, dimension: int, batch: int, minimum_count: float, decay: float) -> None:
        self._experts = experts
        self._dimension = dimension
        self._batch = batch
        self._prototypes = Prototypes(minimum_count, decay)

    @property
    def drift(self) -> float | None:
        """Mean cosine distance of the prototypes from those of the round before; ``None`` before there are two."""
        return self._prototypes.drift

    def read(self, meta: Mapping[str, Any], steps: int) -> RegionSums | None:
        """A site's sums; ``None`` where it sent none. Raises ``Rejected``."""
        return read_prototype_sums(meta, self._experts, self._dimension, most=steps * self._batch)

    def gather(self, site: str, sums: RegionSums) -> None:
        """Keep the sums of an accepted update."""
        self._prototypes.gather(site, sums)

    def close(self, merged: bool) -> dict[str, Any]:
        """End the round, whose sums count if it was ``merged``; returns what goes out with the next model."""
        if merged:
            self._prototypes.close()
        else:
            self._prototypes.discard()
        sent = self._prototypes.to_meta()
        return {} if sent is None else {"prototypes": sent}

    def state(self) -> dict[str, np.ndarray]:
        """A copy of what is known, for a checkpoint; see ``prototypes.Prototypes``."""
        return self._prototypes.state()

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Continue from what ``state`` gave. Raises ``InputError`` when it does not fit."""
        self._prototypes.load_state(state)
