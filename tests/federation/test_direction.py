# SPDX-License-Identifier: Apache-2.0
"""The flag for a site that pulls against the others."""

from __future__ import annotations

import numpy as np
import pytest

from fedpac_me.federation import direction
from fedpac_me.federation.direction import Directions
from fedpac_me.federation.schema import Schema
from fedpac_me.federation.server_round import RoundServer
from fedpac_me.federation.update import Contribution

MODEL = {"w": np.zeros((300, 70), np.float32), "n.running_mean": np.zeros(9, np.float32)}


def pulling(seed: int, factor: float = 1.0) -> dict[str, np.ndarray]:
    """Half of a common direction in noise: any two have a cosine of .2."""
    common = np.random.default_rng(99).normal(size=(300, 70))
    noise = np.random.default_rng(seed).normal(size=(300, 70))
    return {"w": (factor * (0.5 * common + noise)).astype(np.float32), "n.running_mean": np.ones(9, np.float32)}


def flags(*diffs: dict[str, np.ndarray]) -> dict[str, str]:
    made = Directions(Schema.learn(MODEL))
    for number, diff in enumerate(diffs):
        made.add(f"site-{number}", diff)
    return made.flags()


@pytest.mark.parametrize("factor", [-1.0, -1e-3, -1e3])
def test_a_flipped_sign_is_flagged_whatever_its_length(factor: float) -> None:
    found = flags(*(pulling(seed) for seed in range(3)), pulling(3, factor))
    assert set(found) == {"site-3"}
    assert found["site-3"].startswith("points against the others (cosine -0.")


def test_honest_and_unrelated_updates_are_not_flagged() -> None:
    assert flags(*(pulling(seed) for seed in range(4))) == {}
    noise = [{"w": np.random.default_rng(seed).normal(size=(300, 70))} for seed in range(4)]
    assert flags(*noise) == {}


def test_of_two_sites_nobody_can_tell_which_is_wrong() -> None:
    assert flags(pulling(1), pulling(2, -1.0)) == {}


def test_updates_that_cancel_flag_nobody() -> None:
    """As at the end of training: every one points against the sum of the others, and no two agree."""
    noise = [np.random.default_rng(seed).normal(size=(300, 70)) for seed in range(4)]
    assert flags(*({"w": value - sum(noise) / 4} for value in noise)) == {}


def test_updates_that_point_nowhere() -> None:
    zero = {"w": np.zeros((300, 70), np.float32)}
    assert flags(zero, zero, zero) == {}
    assert set(flags(pulling(1), pulling(1, -1.0), pulling(2), zero)) == {"site-1"}
    opposed = flags(pulling(1), zero, zero, pulling(1, -1.0), pulling(1, 2.0))
    assert opposed == {"site-3": "points against the others (cosine -1.00)"}


def test_a_failure_costs_a_flag_only(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(direction, "_product", lambda *_, **__: 1 / 0)
    assert flags(pulling(1), pulling(2), pulling(3, -1.0)) == {}
    assert "could not be noted" in caplog.text


def test_the_ledger_has_it() -> None:
    made = RoundServer()
    made.begin(0, MODEL)
    for number in range(4):
        facts = {"protocol": 1, "signature": made.signature, "cases": 1, "steps": 1}
        diff = pulling(number, -1.0 if number == 2 else 1.0)
        assert made.accept(Contribution(f"site-{number}", "WEIGHT_DIFF", 0, diff, facts)).ok
    lines = made.close().record.to_json()["accepted"]
    assert [line["site"] for line in lines if line.get("flags")] == ["site-2"]


def test_a_model_without_shared_weights() -> None:
    made = Directions(Schema.learn({"experts.0.w": np.zeros(2, np.float32)}))
    for site in "abc":
        made.add(site, {"experts.0.w": np.ones(2, np.float32)})
    assert made.flags() == {} and Directions().flags() == {}
