# SPDX-License-Identifier: Apache-2.0
"""One step of descent at every site, merged, is one step of descent on all cases together."""

from __future__ import annotations

import numpy as np
import pytest

from fedpac_me.federation.merge import CASES_OF_USERS, MASS, ExpertWiseMerge
from fedpac_me.federation.schema import Schema

RATE = 0.1
WEIGHTS = {
    "trunk": np.array([0.5, -1.0], np.float32),
    "experts.0.scale": np.array([1.0], np.float32),
    "experts.1.scale": np.array([2.0], np.float32),
}
SITES = {
    # Inputs (n, 2), targets (n), the expert of each case.
    "a": (np.array([[1.0, 2.0], [0.0, 1.0], [3.0, -1.0]]), np.array([1.0, 0.0, 2.0]), np.array([0, 0, 1])),
    "b": (np.array([[2.0, 0.0]]), np.array([-1.0]), np.array([0])),
    "c": (np.array([[1.0, 1.0], [-2.0, 0.5]]), np.array([0.0, 1.0]), np.array([1, 1])),
}


def gradients(x: np.ndarray, y: np.ndarray, expert: np.ndarray) -> dict[str, np.ndarray]:
    """Of the sum of squares of scale_e · (trunk · x) - y: summed over the cases."""
    scales = np.array([WEIGHTS["experts.0.scale"][0], WEIGHTS["experts.1.scale"][0]])
    inner = x @ WEIGHTS["trunk"]
    error = 2 * (scales[expert] * inner - y)
    found = {"trunk": (error * scales[expert]) @ x}
    return found | {f"experts.{e}.scale": np.array([(error * inner)[expert == e].sum()]) for e in (0, 1)}


def merged(rule: str, per_expert: bool) -> dict[str, np.ndarray]:
    """One SGD step a site; an expert's loss is the mean over the cases of that expert, or over all the site's."""
    made = ExpertWiseMerge(Schema.learn(WEIGHTS), rule)
    for x, y, expert in SITES.values():
        mass = [float((expert == e).sum()) for e in (0, 1)]
        divisor = {"trunk": len(x)} | {f"experts.{e}.scale": (mass[e] if per_expert else len(x)) or 1 for e in (0, 1)}
        diff = {
            name: (-RATE * value / divisor[name]).astype(np.float32) for name, value in gradients(x, y, expert).items()
        }
        made.add(diff, len(x), mass)
    return made.result()


def central() -> dict[str, np.ndarray]:
    return gradients(*(np.concatenate(parts) for parts in zip(*SITES.values(), strict=True)))


def test_the_trunk_by_cases():
    assert merged(MASS, per_expert=True)["trunk"] == pytest.approx(-RATE * central()["trunk"] / 6, rel=1e-6)


def test_an_expert_by_mass_where_its_loss_is_the_mean_over_its_own_cases():
    step = merged(MASS, per_expert=True)
    for expert in (0, 1):
        name = f"experts.{expert}.scale"
        assert step[name] == pytest.approx(-RATE * central()[name] / 3, rel=1e-6)  # 3 cases each


def test_an_expert_by_the_cases_of_its_users_where_its_loss_is_the_mean_over_all_cases():
    """For a single step the difference contains the mass already, so the plain counts of its users are exact."""
    step = merged(CASES_OF_USERS, per_expert=False)
    users = {0: 3 + 1, 1: 3 + 2}
    for expert, cases in users.items():
        name = f"experts.{expert}.scale"
        assert step[name] == pytest.approx(-RATE * central()[name] / cases, rel=1e-6)
