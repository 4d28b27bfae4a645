# SPDX-License-Identifier: Apache-2.0
"""A model of four numbers and two experts, and honest contributions to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fedpac_me.federation.schema import signature
from fedpac_me.federation.update import PROTOCOL, Contribution

ROUND = 5


def model() -> dict[str, np.ndarray]:
    """The global model of these tests."""
    return {
        "trunk.weight": np.zeros((2, 2), np.float32),
        "trunk.bias": np.zeros(2, np.float32),
        "head.experts.0.weight": np.zeros(3, np.float32),
        "head.experts.0.bias": np.zeros(1, np.float32),
        "head.experts.1.weight": np.zeros(3, np.float32),
        "head.experts.1.bias": np.zeros(1, np.float32),
    }


def diff_of(seed: int) -> dict[str, np.ndarray]:
    """An update with values of the usual size."""
    generator = np.random.default_rng(seed)
    return {name: generator.normal(0, 1e-2, value.shape).astype(np.float32) for name, value in model().items()}


def facts_of(weights: Mapping[str, np.ndarray], cases: int, **meta: Any) -> dict[str, Any]:
    """The meta of an update of ``weights`` that must be accepted; ``meta`` replaces entries."""
    facts = {
        "protocol": PROTOCOL,
        "signature": signature(weights),
        "code": "0.1.0",
        "cases": cases,
        "steps": 30,
        "expert_mass": [0.25 * cases, 0.75 * cases],
        "metrics": {"train_loss": 0.5, "dice_mean": 0.75},
    }
    return facts | meta


def honest(site: str = "site-1", seed: int = 1, cases: int = 10, **meta: Any) -> Contribution:
    """A contribution that must be accepted; ``meta`` replaces entries."""
    return Contribution(site, "WEIGHT_DIFF", ROUND, diff_of(seed), facts_of(model(), cases, **meta))


def as_bytes(diff: dict[str, np.ndarray]) -> dict[str, bytes]:
    """For comparisons to the last bit."""
    return {name: value.tobytes() for name, value in diff.items()}


def abstaining(site: str) -> Contribution:
    """Of a site that only evaluates."""
    facts = {name: value for name, value in honest().meta.items() if name in ("protocol", "signature", "metrics")}
    return Contribution(site, "WEIGHT_DIFF", ROUND, {}, facts | {"abstained": True})
