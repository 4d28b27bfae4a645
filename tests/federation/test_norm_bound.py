# SPDX-License-Identifier: Apache-2.0
"""Too long an update is cut to what is usual, and no honest one is touched."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fedpac_me.errors import InputError
from fedpac_me.federation.norm_bound import WINDOW, Clip, NormBound
from fedpac_me.federation.scan import Norms
from fedpac_me.federation.server_round import RoundResult, RoundServer
from fedpac_me.federation.update import Contribution

from .contributions import ROUND, as_bytes, honest, model

Make = Callable[..., RoundServer]
HONEST = [honest(f"site-{number}", number) for number in range(3)]


def scaled(contribution: Contribution, factor: float) -> Contribution:
    return replace(contribution, diff={name: value * np.float32(factor) for name, value in contribution.diff.items()})


def after_a_round(made: RoundServer) -> RoundServer:
    for sent in HONEST:
        assert made.accept(sent).ok
    made.close()
    made.begin(ROUND + 1, model())
    return made


def next_round(made: RoundServer, *sent: Contribution) -> RoundResult:
    for contribution in sent:
        assert made.accept(replace(contribution, round=ROUND + 1)).ok
    return made.close()


def test_bounds_by_hand() -> None:
    bound = NormBound(2.0, first=10.0)
    assert bound.clip(Norms(20.0, 40.0)) == Clip(0.5, 0.25, bound.clip(Norms(20.0, 40.0)).flag)
    assert NormBound(2.0).clip(Norms(1e9, 1e9)) == Clip()
    bound.end_round([Norms(1.0, 8.0), Norms(3.0, 9.0), Norms(100.0, 1e6)])
    clip = bound.clip(Norms(12.0, 36.0))
    assert (clip.weights, clip.statistics) == (0.5, 0.5)
    assert clip.flag == "weights 12 long, cut to the bound 6; statistics 36 long, cut to the bound 18"
    within = bound.clip(Norms(6.0, 18.0))
    diff = {"w": np.ones(2, np.float32)}
    assert within.flag == "" and within.applied(diff) is diff
    assert bound.clip(Norms(5.0, 27.0)).weights == 1.0
    clip = bound.clip(Norms(12.0, 72.0))
    cut = clip.applied({"w": np.array([2, 4], np.float16), "w.running_var": np.array([8], np.float32)})
    assert [(value.dtype, value.tolist()) for value in cut.values()] == [("f4", [1, 2]), ("f4", [2])]


def test_only_the_last_rounds_count() -> None:
    bound = NormBound(1.0)
    for length in (1000.0, *range(1, WINDOW + 1)):
        bound.end_round([Norms(float(length), 0.0)])
    assert bound.clip(Norms(6.0, 0.0)).weights == pytest.approx(3.0 / 6.0)


def test_where_most_send_nothing_there_is_no_bound() -> None:
    bound = NormBound(3.0)
    bound.end_round([Norms(0.0, 0.0)] * 3)
    assert bound.clip(Norms(1e9, 1e9)).flag == ""


@pytest.mark.parametrize("options", [{}, {"max_site_share": 0.5}, {"robust": "norm_clipping"}], ids=str)
@pytest.mark.parametrize("factor", [1e3, 1e4])
def test_an_update_a_thousand_times_too_long_counts_as_one_at_the_bound(
    server: Make, options: dict, factor: float
) -> None:
    made = after_a_round(server(clip_norm_factor=3.0, quorum=3, **options))
    hostile = scaled(honest("site-9", 9), factor)
    result = next_round(made, *HONEST, hostile)
    line = next(line for line in result.record.accepted if line.site == "site-9")
    assert any("cut to the bound" in flag for flag in line.flags)
    assert line.norm == pytest.approx(factor * update_norm(honest("site-9", 9)), rel=1e-4)
    lengths = [update_norm(sent) for sent in (HONEST if not options.get("robust") else [*HONEST, hostile])]
    at_bound = scaled(honest("site-9", 9), 3.0 * float(np.median(lengths)) / update_norm(honest("site-9", 9)))
    expected = sum(sent.diff["trunk.weight"].astype(float) for sent in [*HONEST, at_bound]) / 4
    assert np.allclose(result.diff["trunk.weight"], expected, rtol=1e-3, atol=1e-6)


def update_norm(contribution: Contribution) -> float:
    return float(np.linalg.norm(np.concatenate([value.ravel() for value in contribution.diff.values()])))


def test_honest_updates_keep_every_byte(server: Make) -> None:
    plain, bounded = after_a_round(server()), after_a_round(server(clip_norm_factor=3.0))
    assert as_bytes(next_round(plain, *HONEST).diff) == as_bytes(next_round(bounded, *HONEST).diff)


def test_taking_back_leaves_the_sums_as_if_the_cut_update_had_come(server: Make) -> None:
    made, other = (after_a_round(server(clip_norm_factor=3.0)) for _ in range(2))
    hostile = scaled(honest("site-9", 9), 1e3)
    clip = made.norm_bound.clip(Norms(made.accept(replace(hostile, round=ROUND + 1)).norm, 0.0))
    cut = replace(hostile, diff=dict(clip.applied(hostile.diff)))
    assert as_bytes(next_round(made, *HONEST).diff) == as_bytes(next_round(other, cut, *HONEST).diff)


@pytest.mark.parametrize("options", [{}, {"robust": "norm_clipping", "quorum": 3}], ids=str)
def test_any_order_gives_the_same_bytes(server: Make, options: dict) -> None:
    sent = [*HONEST, scaled(honest("site-9", 9), 1e3)]
    results = [
        next_round(after_a_round(server(clip_norm_factor=3.0, **options)), *order)
        for order in itertools.permutations(sent)
    ]
    assert len({repr(as_bytes(result.diff)) for result in results}) == 1


def test_the_first_round_has_the_configured_bound_or_none(server: Make) -> None:
    hostile = scaled(honest("site-9", 9), 1e3)
    assert server(clip_norm_factor=3.0).accept(hostile).flags == ()
    assert "cut to the bound 2" in server(clip_norm_factor=3.0, clip_norm_first=2.0).accept(hostile).flags[0]


def test_norm_clipping_alone_needs_no_earlier_round(server: Make) -> None:
    made = server(clip_norm_factor=3.0, robust="norm_clipping", quorum=3)
    for sent in (*HONEST, scaled(honest("site-9", 9), 1e3)):
        assert made.accept(sent).ok
    result = made.close()
    assert [bool(line.flags) for line in result.record.accepted] == [False, False, False, True]
    assert update_norm(replace(honest(), diff=result.diff)) < 0.2


def test_one_site_can_be_flagged_twice(server: Make) -> None:
    made = server(clip_norm_factor=3.0, robust="norm_clipping", quorum=3, max_site_share=0.5)
    for sent in (*HONEST, scaled(honest("site-9", 9, cases=1000), 1e3)):
        assert made.accept(sent).ok
    (flag,) = made.close().record.accepted[3].flags
    assert re.fullmatch(r"weights [\d.]+ long, cut to the bound [\d.]+; counted as 30 of its 1000 cases", flag)


def test_a_round_without_quorum_is_not_remembered(server: Make) -> None:
    made = server(clip_norm_factor=3.0, quorum=2)
    made.accept(scaled(honest(), 1e3))
    assert made.close().outcome == "no_quorum"
    assert made.norm_bound.state() == []


def test_state_goes_on_as_if_nothing_had_happened(server: Make) -> None:
    made = after_a_round(server(clip_norm_factor=3.0))
    resumed = NormBound(3.0)
    resumed.load_state(made.norm_bound.state())
    assert resumed.clip(Norms(50.0, 0.0)) == made.norm_bound.clip(Norms(50.0, 0.0))
    assert resumed.state() == made.norm_bound.state() != []
    for length in range(1, WINDOW + 1):
        resumed.end_round([Norms(float(length), 0.0)])
    assert len(resumed.state()) == WINDOW
    unused = NormBound()
    unused.load_state(made.norm_bound.state())
    assert unused.state() == []


@pytest.mark.parametrize(
    "state",
    [
        None,
        3,
        [3],
        [[3]],
        [[[1.0]]],
        [[[1.0, -1.0]]],
        [[["1", 1.0]]],
        [[[1.0, float("nan")]]],
        [[[float("inf"), 1.0]]],
        [[]],
    ],
)
def test_a_damaged_state_is_refused(state: object) -> None:
    bound = NormBound(3.0)
    bound.end_round([Norms(1.0, 1.0)])
    with pytest.raises(InputError, match=r"^The saved lengths of .* are not lists of pairs of finite numbers\.$"):
        bound.load_state(state)
    assert bound.state() == [[[1.0, 1.0]]]


@pytest.mark.parametrize(
    "options",
    [
        *({"clip_norm_factor": value} for value in (0.5, -1.0, float("nan"), float("inf"), "3", True)),
        *({"clip_norm_first": value} for value in (-1.0, float("nan"), float("inf"), None)),
        {"robust": "norm_clipping", "quorum": 3},
    ],
)
def test_impossible_bounds(options: dict) -> None:
    with pytest.raises(InputError, match="clip_norm"):
        RoundServer(**options)
