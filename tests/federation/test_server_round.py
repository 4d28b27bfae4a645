# SPDX-License-Identifier: Apache-2.0
"""A round from begin to close."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpac_me.errors import InputError
from fedpac_me.federation import server_round
from fedpac_me.federation.server_round import RoundServer
from fedpac_me.federation.update import Contribution, Limits

from .contributions import ROUND, abstaining, as_bytes, diff_of, honest, model
from .hostile import Hostile
from .rejections import REJECTIONS, Change

Make = Callable[..., RoundServer]
SITES = [honest("already", 3, 7), honest("site-1", 1, 10), honest("site-2", 2, 25, expert_mass=[25, 0])]


def closed(made: RoundServer, *contributions: Contribution) -> server_round.RoundResult:
    for contribution in contributions:
        made.accept(contribution)
    return made.close()


def test_merged_by_hand(server: Make) -> None:
    ones = replace(honest("a", cases=1), diff={name: np.ones_like(value) for name, value in model().items()})
    fives = replace(honest("b", cases=3), diff={name: np.full_like(value, 5) for name, value in model().items()})
    result = closed(server(quorum=2), ones, fives)
    assert result.outcome == "merged"
    assert {value for array in result.diff.values() for value in array.flat} == {4.0}
    assert all(result.diff[name].shape == value.shape for name, value in model().items())


@pytest.mark.parametrize(
    ("change", "words"), [entry[1:] for entry in REJECTIONS], ids=[entry[0] for entry in REJECTIONS]
)
def test_a_rejection_leaves_no_trace_in_the_model(server: Make, change: Change, words: str) -> None:
    expected = as_bytes(closed(server(), *SITES).diff)
    made = server()
    made.accept(SITES[0])
    verdict = made.accept(change(honest("site-9")))
    assert not verdict.ok and words in verdict.reason
    result = closed(made, *SITES[1:])
    assert as_bytes(result.diff) == expected
    assert [line.reason for line in result.record.rejected] == [verdict.reason]
    json.dumps(result.record.to_json(), allow_nan=False)


def test_a_rejection_before_anything_else_leaves_no_trace(server: Make) -> None:
    expected = as_bytes(closed(server(), *SITES).diff)
    bad = honest("site-9")
    bad.diff["trunk.weight"][1, 1] = np.nan
    assert as_bytes(closed(server(), bad, *SITES).diff) == expected


LATE = replace(honest("late", 8), round=ROUND - 1)
MIXED = [*SITES, abstaining("site-5"), LATE, honest("site-6", cases=0)]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(order=st.permutations(MIXED))
def test_arrival_order_leaves_no_trace(server: Make, order: list[Contribution]) -> None:
    expected = closed(server(clock=lambda: 0.0), *MIXED)
    result = closed(server(clock=lambda: 0.0), *order)
    assert as_bytes(result.diff) == as_bytes(expected.diff)
    assert json.dumps(result.record.to_json()) == json.dumps(expected.record.to_json())


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns as often as the interpreter allows, so that an unguarded step is soon interrupted."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def test_eight_threads_at_once_give_the_same_bytes(server: Make, eager_threads: None) -> None:
    """Each update arrives from several threads, twice from each: it may count once."""
    sent = [honest(f"site-{number}", number, 5 + number) for number in range(8)]
    expected = as_bytes(closed(server(), *sent).diff)
    for _ in range(10):
        made, gate = server(), threading.Barrier(8)

        def deliver(first: int, made=made, gate=gate) -> None:
            gate.wait()
            for number in range(8):
                made.accept(sent[(first + number // 2) % 8])

        threads = [threading.Thread(target=deliver, args=(first,)) for first in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        result = made.close()
        assert as_bytes(result.diff) == expected
        assert (len(result.record.accepted), len(result.record.rejected)) == (8, 56)


def test_the_record(server: Make) -> None:
    ticks = iter([10.0, 12.5])
    made = server(clock=lambda: next(ticks))
    for sent in (honest("site-2", 2, seconds=3.5), abstaining("site-5"), honest("site-1"), honest("site-3", steps=0)):
        made.accept(sent)
    made.record_error("site-4", "no disk\n space")
    payload = 14 * 4
    record = made.close().record
    content = record.to_json()
    agreement = content["experts"]["agreement"]
    assert len(agreement) == 2 and all(-1 <= mean <= 1 for mean in agreement)
    norms = [line.pop("norm") for line in content["accepted"]]
    assert norms == pytest.approx(
        [np.linalg.norm(np.concatenate([v.flat for v in diff_of(n).values()])) for n in (1, 2)]
    )
    assert content == {
        "round": ROUND,
        "outcome": "merged",
        "seconds": 2.5,
        "accepted": [
            {"site": "site-1", "cases": 10, "steps": 30, "seconds": 0.0, "expert_mass": (2.5, 7.5)},
            {"site": "site-2", "cases": 10, "steps": 30, "seconds": 3.5, "expert_mass": (2.5, 7.5)},
        ],
        "rejected": [
            {"site": "site-3", "reason": "'steps' must be an integer from 1 to 10000000, got 0."},
            {"site": "site-4", "reason": "no disk space"},
        ],
        "abstained": ["site-5"],
        "experts": {"mass": [5.0, 15.0], "dead": [], "agreement": agreement},
        "bytes_up": 3 * payload,
        "bytes_down": 5 * payload,
        "metrics": {site: {"dice_mean": 0.75, "train_loss": 0.5} for site in ("site-1", "site-2", "site-5")},
    }


def test_quorum(server: Make) -> None:
    made = server(quorum=2)
    result = closed(made, honest("a"), abstaining("b"), honest("c", cases=0))
    assert (result.outcome, result.diff, made.failed_rounds_in_a_row) == ("no_quorum", {}, 1)
    made.begin(ROUND + 1, model())
    assert (made.close().outcome, made.failed_rounds_in_a_row) == ("no_quorum", 2)
    made.begin(ROUND, model())
    assert (closed(made, honest("a"), honest("b")).outcome, made.failed_rounds_in_a_row) == ("merged", 0)


def test_quorum_zero_holds_the_model_without_failing(server: Make) -> None:
    made = server(quorum=0)
    assert (made.close().outcome, made.failed_rounds_in_a_row) == ("held", 0)


def test_sharing_nothing_holds_the_model(server: Make) -> None:
    made = server(quorum=1, share="nothing")
    result = closed(made, honest("a"), abstaining("b"))
    assert (result.outcome, result.diff, made.failed_rounds_in_a_row) == ("held", {}, 0)
    assert [line.site for line in result.record.accepted] == ["a"]


def test_momentum_over_rounds(server: Make) -> None:
    made = server(server_momentum=0.5)
    plain = closed(server(), honest()).diff
    assert np.allclose(closed(made, honest()).diff["trunk.bias"], 1.5 * plain["trunk.bias"])
    made.begin(ROUND + 1, model())
    made.close()
    made.begin(ROUND, model())
    assert np.allclose(closed(made, honest()).diff["trunk.bias"], 1.75 * plain["trunk.bias"])


def test_begin_twice_is_begin_once(server: Make) -> None:
    made = server()
    made.accept(honest())
    assert made.begin(ROUND, {}) == ""
    assert as_bytes(made.close().diff) == as_bytes(closed(server(), honest()).diff)


def test_a_closed_round_stays_closed_and_is_merged_once(server: Make) -> None:
    made = server()
    first = closed(made, honest())
    made.begin(ROUND, model())
    verdict = made.accept(honest("site-2"))
    made.record_error("site-3", "late")
    second = made.close()
    assert first.diff and not second.diff
    assert second.record == first.record
    assert "round 5 is closed" in verdict.reason


def test_before_the_first_round() -> None:
    made = RoundServer()
    assert made.signature == ""
    assert made.progress["round"] == -1
    assert "no round has begun" in made.accept(honest()).reason
    made.record_error("a", "b")
    assert (made.close().outcome, made.close().diff) == ("no_quorum", {})


@pytest.mark.parametrize("site", [None, 3, Hostile(), "x" * 500, "a\nb", "\ud800"], ids=range(6))
def test_odd_error_replies_stay_printable(server: Make, site: object) -> None:
    made = server()
    made.record_error(site, site)  # type: ignore[arg-type]
    line = made.close().record.rejected[0]
    assert "\n" not in line.site + line.reason and len(line.site) <= 400
    (line.site + line.reason).encode()


def test_too_many_cases_in_all(server: Make) -> None:
    made = server(limits=Limits(max_cases=2**20))
    assert made.accept(honest("a", cases=2**20 - 5)).ok
    verdict = made.accept(honest("b", cases=6))
    assert not verdict.ok and "1048576 cases, 6 more are too many" in verdict.reason
    assert made.accept(honest("c", cases=5)).ok


def test_one_site_cannot_take_the_room_of_the_others(server: Make) -> None:
    made = server()
    assert "from 1 to 16384" in made.accept(honest("greedy", cases=2**20)).reason
    assert all(made.accept(honest(f"site-{number}", cases=2**14)).ok for number in range(64))


def test_the_sums_are_freed(server: Make) -> None:
    made = server()
    closed(made, honest())
    assert made._open is not None and made._open.gathering is None


@pytest.mark.parametrize("options", [{"quorum": -1}, {"quorum": True}, {"share": "some"}, {"server_momentum": 1.0}])
def test_impossible_arguments(options: dict) -> None:
    with pytest.raises(InputError):
        RoundServer(**options)
