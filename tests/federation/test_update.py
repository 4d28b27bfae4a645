# SPDX-License-Identifier: Apache-2.0
"""The wire contract: what passes, what is refused and with which words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpac_me.federation.layout import CHUNK
from fedpac_me.federation.rejection import show
from fedpac_me.federation.schema import Schema, signature
from fedpac_me.federation.update import DEFAULT_LIMITS, Contribution, Limits, check, payload_bytes

from .contributions import ROUND, honest, model
from .hostile import Hostile, HostileDict
from .rejections import REJECTIONS, Change, dropped, spoiled, tensor

SCHEMA = Schema.learn(model())


def verdict_on(contribution: object, **options):
    return check(SCHEMA, contribution, ROUND, {"already"}, **options)  # type: ignore[arg-type]


def test_an_honest_update_and_its_facts() -> None:
    good = honest(seconds=2, extra_of_flare=Hostile())
    verdict = verdict_on(good)
    assert (verdict.ok, verdict.reason) == (True, "")
    assert (verdict.cases, verdict.steps, verdict.seconds, verdict.abstained) == (10, 30, 2.0, False)
    assert verdict.expert_mass == (2.5, 7.5)
    assert verdict.metrics == {"dice_mean": 0.75, "train_loss": 0.5}
    exact = np.sqrt(sum((value.astype(np.float64) ** 2).sum() for value in good.diff.values()))
    assert verdict.norm == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "words"), [entry[1:] for entry in REJECTIONS], ids=[entry[0] for entry in REJECTIONS]
)
def test_rejected_with_a_sentence(change: Change, words: str) -> None:
    verdict = verdict_on(change(honest()))
    assert not verdict.ok
    assert words in verdict.reason
    assert verdict.reason.endswith(".") and "\n" not in verdict.reason and len(verdict.reason) <= 400


def test_the_bounds_themselves_pass() -> None:
    assert verdict_on(spoiled(1024.0)(honest())).ok
    assert verdict_on(spoiled(-1024.0)(honest())).ok
    assert verdict_on(honest(cases=2**14)).ok
    assert verdict_on(honest(cases=2**20), limits=Limits(max_cases=2**20)).ok
    assert verdict_on(honest(steps=10**7)).ok
    assert verdict_on(honest("x" * 256)).ok
    assert verdict_on(honest(expert_mass=[2.5, 7.5 + 0.9e-5])).ok
    assert not verdict_on(honest(expert_mass=[2.5, 7.5 + 1.1e-5])).ok


def test_limits_can_be_tightened_but_not_widened() -> None:
    assert "from 1 to 9" in verdict_on(honest(), limits=Limits(max_cases=9)).reason
    assert "within ±0.001" in verdict_on(honest(), limits=Limits(max_abs=1e-3)).reason
    wider_by_one = ({"max_cases": 2**20 + 1}, {"max_abs": 1025.0}, {"max_statistic": 2.0**18 + 1})
    nothing = ({"max_cases": 0}, {"max_abs": 0.0}, {"max_statistic": 0.0})
    for wider in (*wider_by_one, *nothing, {"max_abs": float("nan")}, {"max_statistic": float("nan")}):
        with pytest.raises(ValueError, match="Limits must be"):
            Limits(**wider)


def test_the_tightest_limits() -> None:
    assert Limits(max_cases=1, max_abs=1e-9, max_statistic=0.5).bound("n.running_var") == 0.5
    assert verdict_on(honest(cases=1), limits=Limits(max_cases=1)).ok


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("0.0.9rc1", "the site is older (site '0.0.9rc1'"),
        ("0.0." + "1" * 28, "the site is older"),
        ("0.0." + "1" * 29, "the site does not say which version"),
        ("0.1.0.dev3", "both run 0.1.0"),
    ],
)
def test_which_side_is_older(code: str, words: str) -> None:
    assert words in verdict_on(honest(signature="0", code=code)).reason


def test_a_value_is_found_in_any_chunk() -> None:
    size = 3 * CHUNK + 5
    schema = Schema.learn({"w": np.zeros(size, np.float32)})
    for place in (0, CHUNK - 1, CHUNK, size - 1):
        for bad, words in ((np.nan, "non_finite"), (-1024.5, "±1024")):
            values = np.full(size, 900, np.float32)
            values[place] = bad
            facts = {"protocol": 1, "signature": schema.signature, "cases": 1, "steps": 1}
            answer = check(schema, Contribution("a", "WEIGHT_DIFF", 0, {"w": values}, facts), 0, ())
            assert words in answer.reason


@pytest.mark.parametrize("name", ["norm.running_var", "norm.running_mean"])
def test_statistics_may_be_larger_than_weights(name: str) -> None:
    schema = Schema.learn({name: np.zeros(2, np.float32), "norm.weight": np.zeros(2, np.float32)})
    facts = {"protocol": 1, "signature": schema.signature, "cases": 1, "steps": 1}

    def verdict(statistic: float, weight: float, limits: Limits = DEFAULT_LIMITS):
        diff = {name: np.full(2, statistic, np.float32), "norm.weight": np.full(2, weight, np.float32)}
        return check(schema, Contribution("a", "WEIGHT_DIFF", 0, diff, facts), 0, (), limits)

    assert verdict(22739.4, 1).ok and verdict(-(2.0**18), 1024).ok
    assert "'norm.weight' must stay within ±1024, got a value of size 2000" in verdict(22739.4, 2000).reason
    assert f"'{name}' must stay within ±262144, got a value of size 300000" in verdict(3e5, 1).reason
    assert f"'{name}' must be finite" in verdict(np.nan, 1).reason
    assert "±100, got a value of size 101" in verdict(101, 1, Limits(max_statistic=100.0)).reason


def test_an_expert_without_mass_may_be_left_out() -> None:
    change = dropped("head.experts.0.weight", "head.experts.0.bias")
    assert verdict_on(change(honest(expert_mass=[0, 10]))).ok


def test_float16_passes() -> None:
    good = honest()
    halves = replace(good, diff={name: value.astype(np.float16) for name, value in good.diff.items()})
    assert verdict_on(halves).ok
    assert verdict_on(halves).norm == pytest.approx(verdict_on(good).norm, rel=1e-3)
    assert "non_finite" in verdict_on(tensor(np.full((2, 2), np.inf, np.float16))(halves)).reason
    assert "±1024" in verdict_on(tensor(np.full((2, 2), 60000, np.float16))(halves)).reason


def test_signalling_nan_gives_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    for bits, dtype in ((0x7F800001, "u4"), (0x7C01, "u2")):
        values = np.full((2, 2), bits, dtype).view("f4" if dtype == "u4" else "f2")
        assert "non_finite" in verdict_on(tensor(values)(honest())).reason
    assert "±1024" in verdict_on(tensor(np.full((2, 2), 3e38, np.float32))(honest())).reason
    assert not recwarn.list


def test_abstaining_needs_neither_weights_nor_cases() -> None:
    facts = {"protocol": 1, "signature": signature(model()), "abstained": True, "metrics": {"dice_mean": 0.5}}
    verdict = verdict_on(Contribution("site-5", "WEIGHT_DIFF", ROUND, {}, facts | {"seconds": 2}))
    assert verdict.seconds == 2.0
    assert (verdict.ok, verdict.abstained, verdict.cases, verdict.metrics) == (True, True, 0, {"dice_mean": 0.5})


def test_a_model_without_experts_needs_no_mass() -> None:
    weights = {"w": np.zeros(2, np.float32)}
    schema = Schema.learn(weights)
    facts = {"protocol": 1, "signature": schema.signature, "cases": 1, "steps": 1}
    for mass, ok in ((None, True), ([], True), ([1.0], False), (Hostile(), False)):
        answer = check(schema, Contribution("a", "WEIGHT_DIFF", 0, weights, facts | {"expert_mass": mass}), 0, ())
        assert answer.ok == ok
        assert ok or "the model has no experts" in answer.reason


def test_what_no_check_foresees_is_a_rejection(caplog: pytest.LogCaptureFixture) -> None:
    answer = check(SCHEMA, honest(), ROUND, Hostile())  # type: ignore[arg-type]
    assert answer.ok is False and "RuntimeError while reading it" in answer.reason
    assert "could not be checked" in caplog.text


def test_payload_bytes() -> None:
    good = honest()
    assert payload_bytes(good) == (4 + 2 + 3 + 1 + 3 + 1) * 4
    assert payload_bytes(replace(good, diff={"a": [1.0]})) == 0
    for odd in (None, replace(good, diff=None), replace(good, diff=HostileDict(a=1)), Hostile()):
        assert payload_bytes(odd) == 0  # type: ignore[arg-type]


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.builds(Hostile),
    st.builds(HostileDict),
    st.sampled_from([10**5000, -(10**5000), "\ud800", "x" * 1000, object(), type, float("nan"), b"", 1j]),
    st.lists(st.floats(), max_size=3),
    st.dictionaries(st.text(max_size=2), st.floats(), max_size=2),
    st.sampled_from(["f2", "f4", "f8", "i1", "c16", "U2", "O"]).map(lambda dtype: np.zeros((2, 2), dtype)),
)
META = [*sorted(honest().meta), "abstained", "seconds", "unknown"]
NAMES = [*model(), "unknown", 3, None]


@settings(max_examples=300)
@given(
    st.dictionaries(st.sampled_from(META), anything, max_size=3),
    st.dictionaries(st.sampled_from(NAMES), anything, max_size=2),
    st.fixed_dictionaries({}, optional={name: anything for name in ("site", "data_kind", "round", "diff", "meta")}),
)
def test_no_malformed_contribution_raises(facts: dict, tensors: dict, envelope: dict) -> None:
    good = honest()
    broken = replace(good, meta={**good.meta, **facts}, diff={**good.diff, **tensors})
    verdict = verdict_on(replace(broken, **envelope))
    assert type(verdict.ok) is bool
    assert verdict.ok == (verdict.reason == "")


@settings(max_examples=50)
@given(anything)
def test_nothing_at_all_raises(thing: object) -> None:
    assert f"Expected a contribution, got {show(thing)}." in verdict_on(thing).reason
    assert not verdict_on(thing).ok
