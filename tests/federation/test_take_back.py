# SPDX-License-Identifier: Apache-2.0
"""Values are checked while they are added: a rejection must leave the sums as they were, to the byte."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fedpac_me.federation import layout, update
from fedpac_me.federation.moments import from_moments, variances
from fedpac_me.federation.scan import Scan
from fedpac_me.federation.schema import Schema, signature
from fedpac_me.federation.server_round import RoundServer
from fedpac_me.federation.update import DEFAULT_LIMITS, PROTOCOL, Contribution, Limits

SHAPES = {
    "conv.weight": (3, 5),
    "norm.running_mean": (4,),
    "norm.running_var": (4,),
    "head.experts.0.weight": (7,),
    "head.experts.0.norm.running_var": (3,),
    "head.experts.1.weight": (9,),
}
# Variances so large that no update leads below zero.
MODEL = {name: np.full(shape, 2.0**18 if "running_var" in name else 0, np.float32) for name, shape in SHAPES.items()}
SCALE = {name: 22739.4 if "running_var" in name else 0.01 for name in SHAPES}


def update_of(seed: int, scale: float = 1.0, mass: float = 0.3, cases: int = 10) -> Contribution:
    generator = np.random.default_rng(seed)
    diff = {
        name: (scale * SCALE[name] * generator.standard_normal(shape)).clip(-2e5, 2e5).astype(np.float32)
        for name, shape in SHAPES.items()
    }
    facts = {"protocol": PROTOCOL, "signature": signature(MODEL), "cases": cases, "steps": 1}
    masses = {"expert_mass": [mass * cases, cases - mass * cases]}
    return Contribution(f"site-{seed}", "WEIGHT_DIFF", 0, diff, facts | masses)


def opened(*sent: Contribution) -> RoundServer:
    server = RoundServer(limits=Limits(max_cases=2**20))
    assert server.begin(0, MODEL) == ""
    assert [server.accept(contribution).reason for contribution in sent] == [""] * len(sent)
    return server


def state(server: RoundServer) -> list[object]:
    """Everything that the sums hold, once something was added."""
    assert server._open is not None and server._open.gathering is not None
    return [
        (
            total._units,
            total._summands,
            list(total._reach),
            [b.total.tobytes() for b in total._blocks if total._summands],
        )
        for total in server._open.gathering.merge._sums()
    ]


def spoiled(contribution: Contribution, name: str, value: float) -> Contribution:
    bad = contribution.diff[name].copy()
    bad.flat[-1] = value
    return replace(contribution, diff={**contribution.diff, name: bad})


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "CHUNK", 4)
    monkeypatch.setattr(layout, "BLOCK", 6)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e6])
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("cases", [10, 2**12])
def test_a_bad_last_element_of_any_tensor_leaves_every_byte(name: str, value: float, cases: int) -> None:
    """The many cases leave the range of fast adding, with the rejected update or before it."""
    for before in ([update_of(1), update_of(2)], [update_of(1, 1000.0, cases=2**12)], [update_of(1, mass=0.0)]):
        server = opened(*before)
        known = state(server)
        for scale in (1.0, 1000.0):
            verdict = server.accept(spoiled(update_of(9, scale, cases=cases), name, value))
            assert f"'{name}' must" in verdict.reason
            assert state(server) == known
        assert server.accept(update_of(3)).ok
        expected = opened(*before, update_of(3)).close().diff
        got = server.close().diff
        assert {key: array.tobytes() for key, array in got.items()} == {
            key: array.tobytes() for key, array in expected.items()
        }


def test_a_bad_first_update_leaves_nothing() -> None:
    server = opened()
    known = state(server)
    assert not server.accept(spoiled(update_of(9), "head.experts.1.weight", math.nan)).ok
    assert state(server) == known
    assert server.accept(update_of(1)).ok
    assert state(server) == state(opened(update_of(1)))


def test_the_values_of_an_expert_without_mass_are_checked_too() -> None:
    server = opened(update_of(1))
    assert (
        "'head.experts.0.weight' must be finite"
        in server.accept(spoiled(update_of(2, mass=0.0), "head.experts.0.weight", math.nan)).reason
    )


def test_the_norm_is_that_of_the_pure_check() -> None:
    sent = update_of(1)
    exact = math.sqrt(sum(float((value.astype(np.float64) ** 2).sum()) for value in sent.diff.values()))
    verdict = opened().accept(sent)
    assert verdict == update.check(Schema.learn(MODEL), sent, 0, ())
    assert verdict.norm == pytest.approx(exact, rel=1e-5)


def test_large_statistics_are_averaged_to_float32_precision_in_any_order_and_tree() -> None:
    parts = [update_of(seed, cases=cases) for seed, cases in ((1, 3), (2, 40), (3, 2000), (4, 7))]
    got, reverse = opened(*parts).close().diff, opened(*parts[::-1]).close().diff
    left, right = opened(*parts[:2]), opened(*parts[2:])
    assert left._open is not None and right._open is not None
    left._open.gathering.merge.merge(right._open.gathering.merge)  # type: ignore[union-attr,arg-type]
    tree = from_moments(left._open.gathering.merge.result(), variances(MODEL))  # type: ignore[union-attr]
    for name, value in tree.items():
        assert value.tobytes() == got[name].tobytes() == reverse[name].tobytes()
    exact = sum(p.meta["cases"] * p.diff["norm.running_var"].astype(np.float64) for p in parts) / 2050
    assert np.allclose(got["norm.running_var"], exact, rtol=2.0**-24, atol=4 * 2.0**-25 / 2050)
    one = opened(spoiled(update_of(5), "norm.running_var", 22739.4)).close().diff
    assert one["norm.running_var"][-1] == np.float32(22739.4)


def test_weights_and_statistics_have_norms_of_their_own() -> None:
    sent, scan = update_of(1), Scan(DEFAULT_LIMITS.bound)
    scan.look_over(sent.diff, sent.diff)
    parts = [[value for name, value in sent.diff.items() if ("running" in name) == which] for which in (False, True)]
    exact = [math.sqrt(sum(float((value.astype(np.float64) ** 2).sum()) for value in values)) for values in parts]
    assert scan.norms == pytest.approx(exact, rel=1e-5)
    assert scan.norm == pytest.approx(math.hypot(*exact), rel=1e-5)
