# SPDX-License-Identifier: Apache-2.0
"""What whoever waits is told, and what the console shows."""

from __future__ import annotations

import pytest

from fedpac_me.federation.ledger import Accepted, Refused, RoundRecord
from fedpac_me.federation.progress import (
    duration,
    latest_figures,
    mean_metrics,
    round_figures,
    round_line,
    routed_cases,
)


def accepted(site: str, mass: tuple[float, ...] | None = None, flags: tuple[str, ...] = ()) -> Accepted:
    return Accepted(site, 8, 30, 4.5, 0.25, mass, flags)


def test_a_round_in_a_line() -> None:
    metrics = {"a": {"train_loss": 0.5, "dice_mean": 0.75}, "b": {"train_loss": 0.25}}
    whole = RoundRecord(
        0, "merged", 3.25, (accepted("a", flags=("odd",)), accepted("b")), (Refused("c", "x"),), metrics=metrics
    )
    assert round_line(whole, 3, 30.0) == (
        "round 1/3  merged  2 updates  1 rejected  loss 0.375  validation Dice 0.750  3.2 s  about 1 min 00 s left"
    )
    last = RoundRecord(2, "no_quorum", 1.0)
    assert round_line(last, 3, 30.0) == "round 3/3  no_quorum  0 updates  1.0 s  training done, evaluating"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")]
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_cases_by_expert() -> None:
    shown = routed_cases({"b": accepted("b", (0.0, 8.0)), "a": accepted("a", (0.0, 7.5)), "c": accepted("c")})
    assert shown == {"experts_of_a": "0 7.5", "experts_of_b": "0 8", "dead_experts": "0"}
    assert routed_cases({"c": accepted("c")}) == {}


def test_means_are_over_those_that_reported() -> None:
    assert mean_metrics({"b": {"x": 1.0}, "a": {"x": 2.0, "y": 3.0}}) == {"mean_x": 1.5, "mean_y": 3.0}


def test_the_latest_figures_are_those_last_reported() -> None:
    validated = RoundRecord(0, "merged", metrics={"a": {"train_loss": 1.0, "dice_mean": 0.25}})
    trained = RoundRecord(1, "merged", metrics={"a": {"train_loss": 0.5}, "b": {"train_loss": 0.25}})
    assert latest_figures([validated, trained, RoundRecord(2, "no_quorum")]) == {"loss": 0.375, "dice": 0.25}
    assert latest_figures([]) == {}


def test_a_round_in_figures() -> None:
    sent = (accepted("a", (8.0, 0.0, 0.0)), accepted("b", (0.0, 8.0, 0.0)))
    refused, metrics = (Refused("c", "x"),), {"a": {"dice_TC": 0.5}}
    whole = RoundRecord(3, "merged", 2.5, sent, refused, ("d",), 100, 200, metrics, agreement=(0.5, None, None))
    who = {"accepted": 2, "rejected": 1, "abstained": 1}
    cost = {"seconds": 2.5, "bytes_up": 100, "bytes_down": 200}
    experts = {"expert_mass/0": 8.0, "expert_mass/1": 8.0, "expert_mass/2": 0.0, "dead_experts": 1}
    experts |= {"routing_entropy": pytest.approx(0.6309, abs=1e-4), "expert_0_agreement": 0.5}
    assert round_figures(whole) == who | cost | {"mean_dice_TC": 0.5} | experts
    alone = RoundRecord(0, "merged", 1.0, (accepted("a"),))
    assert round_figures(alone).keys() == who.keys() | cost.keys()
