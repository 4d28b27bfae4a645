# SPDX-License-Identifier: Apache-2.0
"""The order-independent sum: exactness, resolution, limits."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpac_me.federation import fixed_point, layout
from fedpac_me.federation.fixed_point import (
    MAX_ABS,
    MAX_ABS_STATISTIC,
    MAX_TOTAL_WEIGHT,
    STATISTIC_BITS,
    FixedPointSum,
    to_fixed,
)

values_32 = st.floats(-MAX_ABS, MAX_ABS, width=32)
weights = st.one_of(st.integers(1, 1000), st.floats(2.0**-10, 1000))


def sum_of(*summands: tuple[float, list[float]]) -> FixedPointSum:
    made = FixedPointSum({"w": (len(summands[0][1]),)})
    for weight, values in summands:
        made.add({"w": np.array(values, np.float32)}, weight)
    return made


def test_weighted_mean_by_hand() -> None:
    assert sum_of((1, [1.0, 10.0]), (3, [5.0, -2.0])).mean("w").tolist() == [4.0, 1.0]


@given(st.lists(st.tuples(weights, st.lists(values_32, min_size=3, max_size=3)), min_size=1, max_size=6), st.randoms())
def test_any_order_and_any_tree_give_the_same_bytes(summands: list[tuple[float, list[float]]], random) -> None:
    expected = sum_of(*summands).mean("w").tobytes()
    random.shuffle(summands)
    assert sum_of(*summands).mean("w").tobytes() == expected
    cut = random.randrange(len(summands) + 1)
    top = FixedPointSum({"w": (3,)})
    for part in (summands[:cut], summands[cut:]):
        if part:
            top.merge(sum_of(*part))
    top.merge(FixedPointSum({"w": (3,)}))
    assert top.mean("w").tobytes() == expected


@given(st.lists(st.tuples(st.integers(1, 2000), values_32), min_size=1, max_size=8))
def test_stated_resolution(summands: list[tuple[int, float]]) -> None:
    total = sum(weight for weight, _ in summands)
    exact = sum(weight * Fraction(value) for weight, value in summands) / total
    got = Fraction(float(sum_of(*((weight, [value]) for weight, value in summands)).mean("w")[0]))
    # Besides the resolution: rounding to float32, relative 2⁻²⁴ (and a trace of float64).
    allowed = Fraction(len(summands), 2**33 * total) + abs(exact) * Fraction(1.0001 * 2.0**-24)
    assert abs(got - exact) <= allowed


@given(st.integers(1, 3000), st.floats(2.0**-8, MAX_ABS, width=32))
def test_one_site_is_given_back_exactly_down_to_2_to_the_minus_8_by_cases(cases: int, value: float) -> None:
    small = np.float32(value) / np.float32(2 ** math.floor(math.log2(cases)))
    assert sum_of((cases, [value, -value, small])).mean("w").tolist() == [value, -value, float(small)]


@given(st.lists(values_32, min_size=1, max_size=20), st.one_of(st.integers(1, 200), st.floats(0.001, 200)))
def test_both_ways_of_rounding_give_the_same_integers(values: list[float], weight: float) -> None:
    array = np.array(values, np.float32)
    factor = math.nextafter(fixed_point.to_fixed(weight), math.inf)
    fast, general = np.zeros((2, len(values)), np.int64)
    fixed_point._add_fast(fast, array, factor, True, np.empty(20))
    fixed_point._add_any(general, array, factor, True, np.empty(20))
    assert fast.tolist() == general.tolist()


def test_halves_of_a_unit_go_the_same_way_whatever_the_sum_is() -> None:
    """Rounding half to even would move an odd sum and leave an even one."""
    half = [2.0**-33, -(2.0**-33), 3 * 2.0**-33]
    for before in (0.0, 2.0**-32, 2.0**-31, -(2.0**-32)):
        first = FixedPointSum({"w": (3,)})
        first.add({"w": np.full(3, before, np.float32)}, 1)
        first.add({"w": np.array(half, np.float32)}, 1)
        second = FixedPointSum({"w": (3,)})
        second.add({"w": np.array(half, np.float32)}, 1)
        second.add({"w": np.full(3, before, np.float32)}, 1)
        assert first.mean("w").tobytes() == second.mean("w").tobytes()


def test_fast_and_general_summands_mix_in_any_order() -> None:
    small, large = (1, [0.1, 2.0**-33, 3.0]), (2000, [1000.0, -1000.0, 0.3])
    made = sum_of(small, large)
    assert made._reach[0] > fixed_point.MAX_FAST_UNITS
    assert made.mean("w").tobytes() == sum_of(large, small).mean("w").tobytes()
    assert sum_of((200, [4.0]), (600, [8.0])).mean("w").tolist() == [7.0]


@pytest.mark.parametrize("weight", [2**9, MAX_TOTAL_WEIGHT])
@pytest.mark.parametrize(("bits", "largest"), [(32, MAX_ABS), (STATISTIC_BITS, MAX_ABS_STATISTIC)])
def test_the_largest_sum_does_not_overflow(weight: int, bits: int, largest: float) -> None:
    summand = {"w": np.array([largest, -largest], np.float32)}
    made = FixedPointSum({"w": (2,)}, bits)
    for _ in range(MAX_TOTAL_WEIGHT // weight):
        made.add(summand, weight)
    assert (made.total_weight, made.max_abs) == (MAX_TOTAL_WEIGHT, largest)
    assert made.mean("w").tolist() == [largest, -largest]
    with pytest.raises(OverflowError):
        made.add(summand, 2.0**-32)
    assert made.mean("w").tolist() == [largest, -largest]


@given(st.lists(st.tuples(st.integers(1, 2000), st.floats(-(2.0**18), 2.0**18, width=32)), min_size=1, max_size=8))
def test_stated_resolution_of_statistics(summands: list[tuple[int, float]]) -> None:
    made = FixedPointSum({"w": (1,)}, STATISTIC_BITS)
    for weight, value in summands:
        made.add({"w": np.array([value], np.float32)}, weight)
    total = sum(weight for weight, _ in summands)
    exact = sum(weight * Fraction(value) for weight, value in summands) / total
    allowed = Fraction(len(summands), 2**25 * total) + abs(exact) * Fraction(1.0001 * 2.0**-24)
    assert abs(Fraction(float(made.mean("w")[0])) - exact) <= allowed


def test_tensors_longer_than_a_chunk_and_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "CHUNK", 4)
    monkeypatch.setattr(layout, "BLOCK", 10)
    shapes = {"a": (3, 3), "b": (), "c": (0,), "d": (13,), "e": (2,)}
    generator = np.random.default_rng(0)
    one, two = ({n: np.asarray(generator.integers(-9, 9, s), np.float32) for n, s in shapes.items()} for _ in "ab")
    made = FixedPointSum(shapes)
    made.add(one, 1)
    made.add(two, 3)
    for means in ({name: made.mean(name) for name in shapes}, made.means(), made.means(release=True)):
        for name, shape in shapes.items():
            assert means[name].shape == shape and means[name].dtype == np.float32
            assert np.array_equal(means[name], (one[name] + 3 * two[name]) / 4)
    with pytest.raises(ValueError, match="nothing was added"):
        made.means()


def test_a_transposed_array_is_read_in_its_own_order() -> None:
    made = FixedPointSum({"w": (2, 3)})
    made.add({"w": np.arange(6, dtype=np.float32).reshape(3, 2).T}, 2)
    assert made.mean("w").tolist() == [[0, 2, 4], [1, 3, 5]]


def test_float16_does_not_overflow_in_the_sum() -> None:
    made = FixedPointSum({"w": (1,)})
    for _ in range(200):
        made.add({"w": np.array([1000], np.float16)}, 7)
    assert made.mean("w").tolist() == [1000.0]


@pytest.mark.parametrize("weight", [-1, math.nan, math.inf])
def test_impossible_weights(weight: float) -> None:
    made = FixedPointSum({"w": (1,)})
    with pytest.raises(ValueError, match="finite and at least 0"):
        made.add({"w": np.ones(1, np.float32)}, weight)
    assert made.total_weight == 0


def test_an_error_leaves_the_sum_as_it_was() -> None:
    made = FixedPointSum({"a": (1,), "b": (2,)})
    made.add({"a": np.ones(1, np.float32), "b": np.ones(2, np.float32)}, 1)
    for broken in ({"a": np.ones(1, np.float32)}, {"a": np.ones(1, np.float32), "b": np.ones(1, np.float32)}):
        with pytest.raises((KeyError, ValueError)):
            made.add(broken, 1)
    with pytest.raises(ValueError, match="same tensors"):
        made.merge(FixedPointSum({"a": (1,)}))
    with pytest.raises(ValueError, match="same units"):
        made.merge(FixedPointSum({"a": (1,), "b": (2,)}, STATISTIC_BITS))
    assert (made.total_weight, made.mean("a").tolist(), made.mean("b").tolist()) == (1, [1.0], [1.0, 1.0])


def test_a_check_refuses_before_anything_is_kept() -> None:
    made = FixedPointSum({"w": (2,)})
    seen: list[tuple[str, list[float]]] = []

    def check(name: str, values: np.ndarray) -> float:
        seen.append((name, values.tolist()))
        if len(seen) > 1:
            raise ValueError("refused")
        return 2.0

    made.add({"w": np.array([1.0, 2.0], np.float32)}, 1, check)
    with pytest.raises(ValueError, match="refused"):
        made.add({"w": np.array([7.0, 7.0], np.float32)}, 1, check)
    assert seen == [("w", [1.0, 2.0]), ("w", [7.0, 7.0])]
    assert (made.total_weight, made.mean("w").tolist()) == (1, [1.0, 2.0])


def test_a_sum_goes_on_after_it_was_merged() -> None:
    """Three at a time, of values so large that the sum leaves the range of fast adding on the way."""
    values = [np.array([1000.0 - number, -0.25 * number], np.float32) for number in range(6)]
    one, two, three, whole = (FixedPointSum({"w": (2,)}) for _ in range(4))
    for number, value in enumerate(values):
        whole.add({"w": value}, 100 + number)
        (one, two, three)[number % 3].add({"w": value}, 100 + number)
    one.merge(two)
    one.merge(three)
    last = {"w": np.array([-1000.0, 3.0], np.float32)}
    for made in (one, whole):
        made.add(last, 2000)
    assert one.mean("w").tobytes() == whole.mean("w").tobytes()
    assert one.total_weight == whole.total_weight


def test_the_most_weight_fits_and_no_more() -> None:
    half = FixedPointSum({"w": (1,)})
    half.add({"w": np.ones(1, np.float32)}, MAX_TOTAL_WEIGHT / 2)
    made, one = FixedPointSum({"w": (1,)}), FixedPointSum({"w": (1,)})
    one.add({"w": np.ones(1, np.float32)}, 1)
    made.merge(half)
    made.merge(half)
    assert (made.total_weight, made.mean("w").tolist()) == (MAX_TOTAL_WEIGHT, [1.0])
    with pytest.raises(OverflowError, match="would exceed 1048576 cases"):
        made.merge(one)
    assert made.total_weight == MAX_TOTAL_WEIGHT


@pytest.mark.parametrize("weight", [1 / 3, 0.7, 2 / 3, 1.5, 12345.6789, 2.0**-33, 3 * 2.0**-32, 10.0, 0.0])
def test_a_weight_is_the_nearest_of_26_bits(weight: float) -> None:
    units = to_fixed(weight)
    coarse = max(math.floor(math.log2(weight)) + 33 - 26, 0) if weight else 0
    assert units % 2**coarse == 0
    assert abs(units - weight * 2**32) <= 2**coarse / 2
