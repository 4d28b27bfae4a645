# SPDX-License-Identifier: Apache-2.0
"""Statistics merged by their moments, and the rules that weigh an expert's updates."""

from __future__ import annotations

import numpy as np
import pytest

from fedpac_me.federation.merge import CASES, CASES_OF_USERS, MASS, ExpertWiseMerge, expert_weights
from fedpac_me.federation.moments import from_moments, to_moments, variances
from fedpac_me.federation.momentum import ServerMomentum
from fedpac_me.federation.schema import Schema

MODEL = {
    "w": np.array([1.0, -2.0], np.float32),
    "n.experts.0.running_mean": np.array([3.0], np.float32),
    "n.experts.0.running_var": np.array([4.0], np.float32),
    "n.experts.1.running_mean": np.array([0.0], np.float32),
    "n.experts.1.running_var": np.array([1.0], np.float32),
}
SCHEMA = Schema.learn(MODEL)
MEAN, VARIANCE = "n.experts.0.running_mean", "n.experts.0.running_var"


def statistics(mean: float, variance: float) -> dict[str, np.ndarray]:
    """A site's difference if its expert 0 ends with these statistics."""
    site = {**MODEL, MEAN: np.array([mean], np.float32), VARIANCE: np.array([variance], np.float32)}
    return to_moments({name: site[name] - MODEL[name] for name in MODEL})


def merged(*sites, rule: str = MASS, prior: float = 0.0) -> dict[str, np.ndarray]:
    made = ExpertWiseMerge(SCHEMA, rule, prior)
    for diff, cases, mass in sites:
        made.add(diff, cases, mass)
    found = from_moments(made.result(), variances(MODEL))
    return {name: MODEL[name] + found.get(name, 0) for name in MODEL}


def test_the_variance_of_two_sites_together():
    # 1 case around 1 with variance 2, 3 cases around 5 with variance 6: mean 4, variance (2 + 18)/4 + (9 + 3·1)/4 = 8.
    model = merged((statistics(1, 2), 1, [1, 0]), (statistics(5, 6), 3, [3, 0]))
    assert (model[MEAN].item(), model[VARIANCE].item()) == (4.0, 8.0)


def test_one_holder_is_a_copy():
    model = merged((statistics(1, 2), 10, [4, 6]), (statistics(9, 9), 5, [0, 5]))
    assert (model[MEAN].item(), model[VARIANCE].item()) == (1.0, 2.0)


def test_no_update_leads_a_variance_below_zero():
    wrong = {**statistics(3, 4), VARIANCE: np.array([-100.0], np.float32)}
    assert merged((wrong, 1, [1, 0]))[VARIANCE].item() == 0


def test_the_prior_pulls_towards_no_change():
    # Two cases' worth of mean 3 against two cases of mean 7, both with variance 4: mean 5, variance 4 + 4.
    model = merged((statistics(7, 4), 2, [2, 0]), prior=2.0)
    assert (model[MEAN].item(), model[VARIANCE].item()) == (5.0, 8.0)


@pytest.mark.parametrize(
    ("rule", "mean"),
    [(MASS, (5 * 1 + 5 * 5) / 10), (CASES_OF_USERS, (30 * 1 + 10 * 5) / 40), (CASES, (30 * 1 + 10 * 5 + 20 * 3) / 60)],
)
def test_what_weighs_an_experts_update(rule, mean):
    """Means 1 and 5 of 5 scans each, at sites of 30 and 10 cases; a third, of 20, left its copy as it was, at 3."""
    sites = [(statistics(1, 4), 30, [5, 25]), (statistics(5, 4), 10, [5, 5]), (statistics(3, 4), 20, [0, 20])]
    assert merged(*sites, rule=rule)[MEAN].item() == pytest.approx(mean, abs=1e-6)


def test_under_cases_a_site_that_leaves_an_expert_out_has_no_say_in_it():
    silent = {name: value for name, value in statistics(3, 4).items() if "experts.0" not in name}
    model = merged((statistics(5, 4), 10, [10, 0]), (silent, 90, [0, 90]), rule=CASES)
    assert model[MEAN].item() == 5.0


def test_weights_of_each_rule():
    assert expert_weights(MASS, 10, [4, 6, 0]) == (4, 6, 0)
    assert expert_weights(CASES_OF_USERS, 10, [4, 6, 0]) == (10, 10, 0)
    assert expert_weights(CASES_OF_USERS, 10, [0.5, 9.5, 0]) == (10, 10, 0)
    assert expert_weights(CASES, 10, [4, 6, 0]) == (10, 10, 10)


def test_one_step_of_gradient_descent_by_cases_is_the_pooled_step():
    """Mean squares of 3 and 1 points: each site's step from w = 0 with rate .1 is .2 times the mean of its points."""
    points = {"a": [1.0, 2.0, 6.0], "b": [11.0]}
    made = ExpertWiseMerge(Schema.learn({"w": np.zeros(1, np.float32)}))
    for own in points.values():
        made.add({"w": np.array([0.2 * np.mean(own)], np.float32)}, len(own))
    pooled = 0.2 * np.mean([*points["a"], *points["b"]])
    assert made.result()["w"].item() == pytest.approx(pooled, rel=1e-6)


@pytest.mark.parametrize(("experts", "second"), [(True, 1.75), (False, 1.0)])
def test_momentum_moves_experts_only_where_asked(experts, second):
    momentum = ServerMomentum(0.5, experts)
    step = {"w": np.ones(1, np.float32), "n.experts.0.weight": np.ones(1, np.float32)}
    momentum.apply(step)
    assert {name: value.item() for name, value in momentum.apply(step).items()} == {
        "w": 1.75, "n.experts.0.weight": second,
    }  # fmt: skip
