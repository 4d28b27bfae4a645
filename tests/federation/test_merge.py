# SPDX-License-Identifier: Apache-2.0
"""The expert-wise merge: identities with the answer written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpac_me.federation.fixed_point import MAX_ABS_STATISTIC, MAX_TOTAL_WEIGHT
from fedpac_me.federation.merge import CASES, MIN_EXPERT_MASS, ExpertWiseMerge
from fedpac_me.federation.schema import Schema

from .contributions import as_bytes, diff_of, model

SCHEMA = Schema.learn(model())
EXPERT_0 = SCHEMA.expert_keys[0]
EXPERT_1 = SCHEMA.expert_keys[1]


def constant(value: float) -> dict[str, np.ndarray]:
    return {name: np.full(array.shape, value, np.float32) for name, array in model().items()}


def merged(*sites: tuple[dict[str, np.ndarray], int, list[float]]) -> ExpertWiseMerge:
    made = ExpertWiseMerge(SCHEMA)
    for diff, cases, mass in sites:
        made.add(diff, cases, mass)
    return made


def test_shared_by_cases_experts_by_mass() -> None:
    result = merged((constant(1), 10, [10, 0]), (constant(5), 30, [10, 20])).result()
    assert set(result["trunk.weight"].flat) == {4.0}
    assert set(result["head.experts.0.weight"].flat) == {3.0}
    assert set(result["head.experts.1.bias"].flat) == {5.0}


def test_one_expert_is_fedavg() -> None:
    with_expert = {"a": np.zeros(2, np.float32), "experts.0.a": np.zeros(2, np.float32)}
    made = ExpertWiseMerge(Schema.learn(with_expert))
    for cases, values in ((1, [1.0, 2.0]), (3, [5.0, -2.0])):
        array = np.array(values, np.float32)
        made.add({"a": array, "experts.0.a": array}, cases, [cases])
    result = made.result()
    assert result["a"].tolist() == result["experts.0.a"].tolist() == [4.0, -1.0]


def test_equal_weights_are_the_plain_average() -> None:
    result = merged(*((constant(value), 4, [2, 2]) for value in (1, 2, 6))).result()
    assert {value for array in result.values() for value in array.flat} == {3.0}


def test_one_holder_is_a_copy() -> None:
    """Every value at least 2⁻⁸ / mass in size comes back exactly; the others within 2⁻³³ / mass."""
    holder = diff_of(1)
    result = merged((diff_of(2), 20, [20, 0]), (holder, 20, [0, 20])).result()
    for name in EXPERT_1:
        assert np.array_equal(result[name], holder[name]) == bool((np.abs(holder[name]) >= 2.0**-8 / 20).all())
        assert np.allclose(result[name], holder[name], rtol=2.0**-24, atol=2.0**-33 / 20)


def test_an_expert_nobody_used_is_left_out() -> None:
    result = merged((diff_of(1), 3, [3, 0]), (diff_of(2), 4, [4, 0.0])).result()
    assert set(result) == {*SCHEMA.shared_keys, *EXPERT_0}


def test_keys_of_an_unused_expert_may_be_missing() -> None:
    partial = {name: value for name, value in constant(2).items() if name not in EXPERT_1}
    result = merged((partial, 3, [3, 0]), (constant(6), 1, [0, 1])).result()
    assert set(result["trunk.bias"].flat) == {3.0}
    assert set(result["head.experts.1.weight"].flat) == {6.0}


def test_a_trace_of_mass_is_no_use() -> None:
    below = MIN_EXPERT_MASS * 0.99
    assert not set(EXPERT_1) & set(merged((diff_of(1), 1, [1 - below, below])).result())
    half = MIN_EXPERT_MASS / 2
    both = merged((diff_of(1), 1, [1 - half, half]), (diff_of(2), 1, [1 - half, half])).result()
    assert set(EXPERT_1) <= set(both)


def test_nothing_added_is_nothing_changed() -> None:
    assert ExpertWiseMerge(SCHEMA).result() == {}


sites = st.lists(st.tuples(st.integers(0, 99), st.integers(1, 900), st.floats(0, 1)), min_size=1, max_size=6)


@given(sites, st.randoms())
def test_any_order_and_two_levels_give_the_same_bytes(claims: list[tuple[int, int, float]], random) -> None:
    parts = [(diff_of(seed), cases, [cases * share, cases - cases * share]) for seed, cases, share in claims]
    expected = as_bytes(merged(*parts).result())
    random.shuffle(parts)
    assert as_bytes(merged(*parts).result()) == expected
    cut = random.randrange(len(parts) + 1)
    regional = [merged(*parts[:cut]), merged(*parts[cut:])]
    top = ExpertWiseMerge(SCHEMA)
    for region in regional:
        top.merge(region)
    assert as_bytes(top.result(release=True)) == expected


def test_an_error_in_a_later_group_leaves_all_groups_as_they_were() -> None:
    made = merged((constant(1), 10, [5, 5]))
    before = as_bytes(made.result())
    broken = constant(9) | {EXPERT_1[0]: np.zeros(1, np.float32), EXPERT_1[1]: np.zeros(9, np.float32)}
    with pytest.raises(ValueError):
        made.add(broken, 10, [5, 5])
    with pytest.raises(ValueError):
        made.add(constant(9), 10, [10])
    with pytest.raises(OverflowError):
        made.add(constant(9), 2**20, [2**20, 0])
    assert as_bytes(made.result()) == before
    assert not made.has_room(2**20, [2**20, 0])
    assert made.has_room(2**20 - 10, [0, 2**20 - 10])


def test_the_prior_holds_experts_back_and_no_shared_layer() -> None:
    made = ExpertWiseMerge(SCHEMA, expert_prior=30.0)
    made.add(constant(4), 10, [10, 0])
    result = made.result()
    assert set(result["trunk.weight"].flat) == {4.0}
    assert set(result["head.experts.0.weight"].flat) == {1.0}


def test_statistics_reach_their_bound_with_all_the_cases_that_fit() -> None:
    """In the units of weights this sum would be 64 times too large for its integer."""
    made = ExpertWiseMerge(Schema.learn({"n.running_var": np.zeros(2, np.float32)}))
    bound = np.array([MAX_ABS_STATISTIC, -MAX_ABS_STATISTIC], np.float32)
    for _ in range(2):
        made.add({"n.running_var": bound}, MAX_TOTAL_WEIGHT // 2)
    assert made.result()["n.running_var"].tolist() == bound.tolist()


def test_a_site_that_leaves_the_last_expert_out_counts_for_the_shared_layers() -> None:
    made = ExpertWiseMerge(SCHEMA, CASES)
    made.add(constant(1), 10, [10, 0])
    without = {name: value for name, value in constant(3).items() if name not in EXPERT_1}
    made.add(without, 10, [10, 0])
    result = made.result()
    assert set(result["trunk.weight"].flat) == {2.0}
    assert set(result["head.experts.1.weight"].flat) == {1.0}
