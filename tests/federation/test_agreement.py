# SPDX-License-Identifier: Apache-2.0
"""How alike the sites' updates of an expert are: the sketches' cosines against known ones."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fedpac_me.federation import agreement
from fedpac_me.federation.agreement import WIDTH, Agreement
from fedpac_me.federation.schema import Schema
from fedpac_me.federation.server_round import RoundServer

from .contributions import honest
from .rejections import REJECTIONS, Change

Make = Callable[..., RoundServer]
Diff = dict[str, np.ndarray]

SHAPES = {
    "trunk.weight": (50, 4),
    "conv.experts.0.down": (40, 50),
    "conv.experts.1.down": (40, 50),
    "norm.experts.0.running_mean": (300,),
    "norm.experts.0.weight": (300,),
    "norm.experts.1.running_mean": (300,),
    "norm.experts.1.weight": (300,),
}
SCHEMA = Schema.learn({name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()})


def drawn(seed: int, scale: float = 1e-3) -> Diff:
    generator = np.random.default_rng(seed)
    return {name: (scale * generator.standard_normal(shape)).astype(np.float32) for name, shape in SHAPES.items()}


def agreed(*diffs: Diff, mass: tuple[float, ...] = (1.0, 2.0)) -> Agreement:
    made = Agreement(SCHEMA)
    for number, diff in enumerate(diffs):
        made.add(f"site-{number}", diff, mass)
    return made


def exact(first: Diff, second: Diff, expert: int) -> float:
    names = [f"conv.experts.{expert}.down", f"norm.experts.{expert}.weight"]
    one, other = (np.concatenate([diff[name].ravel().astype(np.float64) for name in names]) for diff in (first, second))
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


def test_equal_updates_agree_whatever_their_length() -> None:
    longer = {name: 4 * value for name, value in drawn(1).items()}
    assert agreed(drawn(1), longer, drawn(1)).cosines() == [{"mean": 1.0, "pairs": 3}] * 2


def test_opposite_updates_disagree() -> None:
    opposite = {name: -value for name, value in drawn(1).items()}
    assert agreed(drawn(1), opposite).cosines() == [{"mean": -1.0, "pairs": 1}] * 2
    # Of three pairs one agrees: (1 - 1 - 1) / 3.
    assert agreed(drawn(1), opposite, drawn(1)).means() == pytest.approx([-1 / 3] * 2, abs=1e-6)


def test_unrelated_updates_are_near_zero() -> None:
    assert agreed(*(drawn(seed) for seed in range(8))).means() == pytest.approx([0.0, 0.0], abs=0.03)


def test_the_error_is_that_of_the_docstring() -> None:
    """Updates with a common part, cosine about .5; the estimate's error over 200 pairs of 2300 values."""
    errors = []
    for seed in range(100):
        common, one, other = (drawn(3 * seed + at) for at in range(3))
        pair = [{name: common[name] + own[name] for name in SHAPES} for own in (one, other)]
        errors += [mean - exact(*pair, expert) for expert, mean in enumerate(agreed(*pair).means())]
    assert abs(np.mean(errors)) < 0.015
    assert np.std(errors) == pytest.approx((1 - 0.5**2) / np.sqrt(WIDTH), rel=0.3)


def test_float16_updates_and_other_memory_layouts_count_by_value() -> None:
    half = {name: value.astype(np.float16) for name, value in drawn(1, scale=1.0).items()}
    turned = {name: np.asfortranarray(value.astype(np.float32)) for name, value in half.items()}
    assert agreed(half, turned).means() == (1.0, 1.0)


def test_running_statistics_do_not_count() -> None:
    other = drawn(1) | {f"norm.experts.{expert}.running_mean": np.full(300, 1e3, np.float32) for expert in range(2)}
    assert agreed(drawn(1), other).means() == (1.0, 1.0)


def test_updates_of_zero_point_nowhere() -> None:
    zero = {name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    assert agreed(zero, zero).cosines() == agreed(zero, drawn(1)).cosines() == [None, None]
    assert agreed(drawn(1), zero, drawn(1)).cosines() == [{"mean": 1.0, "pairs": 1}] * 2


def test_experts_that_a_site_did_not_use_are_left_out() -> None:
    made = agreed(drawn(1), drawn(1))
    first_only = {name: value for name, value in drawn(2).items() if "experts.1" not in name}
    made.add("site-9", first_only, (3.0, 0.0))
    made.add("site-10", drawn(3), (0.0, 0.0))
    first, second = made.cosines()
    assert (first["pairs"], second) == (3, {"mean": 1.0, "pairs": 1})
    assert first["mean"] < 0.5
    assert agreed(drawn(1)).means() == (None, None)


def test_arrival_order_does_not_change_a_bit() -> None:
    sent = {f"site-{seed}": drawn(seed) for seed in range(4)}
    found = set()
    for order in itertools.permutations(sent):
        made = Agreement(SCHEMA)
        for site in order:
            made.add(site, sent[site], (1.0, 2.0))
        found.add(json.dumps(made.cosines()))
    assert len(found) == 1


def test_buckets_do_not_depend_on_what_was_asked_before() -> None:
    expected = agreed(drawn(1), drawn(2)).means()
    agreement._buckets.cache_clear()
    assert agreed(drawn(1), drawn(2)).means() == expected


def test_nothing_raises_without_experts_or_with_odd_values(caplog: pytest.LogCaptureFixture) -> None:
    none = Agreement()
    none.add("a", {}, None)
    assert (none.cosines(), none.means()) == ([], ())
    odd = {name: np.full(shape, np.nan, np.float32) for name, shape in SHAPES.items()}
    assert agreed(odd, drawn(1), drawn(1)).means() == (1.0, 1.0)
    made = agreed(drawn(1), drawn(1))
    made.add("broken", {}, (1.0, 1.0))
    made.add("late", drawn(1), (1.0, 1.0))
    assert made.cosines() == [None, None]
    assert "could not be noted" in caplog.text


def test_an_expert_without_weights_has_no_agreement() -> None:
    shapes = {"a.experts.0.running_mean": 3, "a.experts.0.running_var": 3}
    made = Agreement(Schema.learn({name: np.zeros(size, np.float32) for name, size in shapes.items()}))
    for site in "ab":
        made.add(site, {name: np.ones(size, np.float32) for name, size in shapes.items()}, (1.0,))
    assert made.cosines() == [None]


def test_the_record_tells_and_keeps_no_update(server: Make) -> None:
    made = server()
    for sent in (honest("a"), honest("b"), honest("c", expert_mass=[10, 0])):
        assert made.accept(sent).ok
    assert made.close().record.to_json()["experts"]["agreement"] == [1.0, 1.0]
    kept = [sketch for by_site in made._open.agreement._sketches for sketch in by_site.values()]
    assert [(sketch.size, sketch.base) for sketch in kept] == [(WIDTH, None)] * 5
    assert server().close().record.agreement == (None, None)
    assert RoundServer().close().record.agreement == ()


@pytest.mark.parametrize("change", [entry[1] for entry in REJECTIONS], ids=[entry[0] for entry in REJECTIONS])
def test_a_rejected_update_leaves_no_trace(server: Make, change: Change) -> None:
    made = server()
    made.accept(honest("already"))
    opposite = {name: -value for name, value in honest().diff.items()}
    assert not made.accept(change(replace(honest("site-9"), diff=opposite))).ok
    assert made.close().record.agreement == (None, None)
