# SPDX-License-Identifier: Apache-2.0
"""No site has more than its share of a merge, in any order of arrival."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpac_me.federation.server_round import RoundServer
from fedpac_me.federation.site_share import largest_count, most_above
from fedpac_me.federation.update import Contribution, Limits

from .contributions import as_bytes, honest

Make = Callable[..., RoundServer]


@pytest.mark.parametrize(
    ("cases", "share", "expected"),
    [
        ([10, 10, 500], 0.5, 20),
        ([10, 10, 500], 0.25, 10),
        ([100, 90, 10, 10, 10], 0.3, 22.5),
        ([30, 20, 10], 0.5, 30),
        ([5], 0.5, 5),
        ([7, 7], 0.1, 7),
        ([1, 2, 3, 4], 0.25, 1),
    ],
)
def test_by_hand(cases: list[float], share: float, expected: float) -> None:
    assert largest_count(cases, share) == pytest.approx(expected, rel=1e-12)


@given(st.lists(st.integers(1, 2**14), min_size=1, max_size=12), st.floats(0.05, 1.0))
def test_the_largest_site_has_its_share_and_nobody_is_cut_without_need(cases: list[int], share: float) -> None:
    most = largest_count(cases, share)
    counted = [min(count, most) for count in cases]
    assert min(counted) > 0
    if share * len(cases) <= 1:
        assert counted == pytest.approx([min(cases)] * len(cases), rel=1e-6)
    elif counted != cases:
        assert max(counted) == pytest.approx(share * sum(counted), rel=1e-6)
    else:
        assert max(cases) <= share * sum(cases) * (1 + 1e-6)
    assert sum(count > most for count in cases) <= most_above(share)


SENT = [honest(f"site-{number}", number, cases) for number, cases in enumerate((400, 300, 9, 30, 30))]


@pytest.mark.parametrize("share", [0.19, 0.25, 0.4, 0.8])
def test_the_server_counts_a_site_as_its_share(server: Make, share: float) -> None:
    """As if the sites had stated the cut counts themselves; the same bytes for every order."""
    most = largest_count([sent.meta["cases"] for sent in SENT], share)
    kept = [min(sent.meta["cases"], most) for sent in SENT]
    outcomes = set()
    for order in itertools.permutations(SENT):
        made = server(max_site_share=share, clock=lambda: 0.0)
        assert all(made.accept(sent).ok for sent in order)
        result = made.close()
        outcomes.add((repr(as_bytes(result.diff)), json.dumps(result.record.to_json())))
    assert len(outcomes) == 1
    for name in ("trunk.weight", "head.experts.1.weight"):
        expected = sum(n * sent.diff[name].astype(float) for n, sent in zip(kept, SENT, strict=True)) / sum(kept)
        assert np.allclose(result.diff[name], expected, rtol=1e-6, atol=1e-9)
    flagged = {line.site: line.flags for line in result.record.accepted if line.flags}
    assert set(flagged) == {s.site for s, n in zip(SENT, kept, strict=True) if n < s.meta["cases"]}
    stated = {sent.site: sent.meta["cases"] for sent in SENT}
    assert all(f"counted as {most:.7g} of its {stated[site]} cases" in flags for site, flags in flagged.items())


def test_only_as_many_updates_are_held_as_can_be_too_large(server: Make) -> None:
    made = server(max_site_share=0.3)
    held = []
    for number in range(8):
        made.accept(honest(f"site-{number}", number, 10 + number))
        held.append(len(made._open.gathering._held))  # type: ignore[union-attr]
    assert held == [1, 2, 3, 3, 3, 3, 3, 3]


def test_a_model_without_experts(server: Make) -> None:
    made = RoundServer(max_site_share=0.5)
    weights = {"w": np.zeros(2, np.float32)}
    made.begin(0, weights)
    for site, cases, value in (("a", 100, 1.0), ("b", 1, 3.0)):
        facts = {"protocol": 1, "signature": made.signature, "cases": cases, "steps": 1}
        assert made.accept(Contribution(site, "WEIGHT_DIFF", 0, {"w": np.full(2, value, np.float32)}, facts)).ok
    assert made.close().diff["w"].tolist() == [2.0, 2.0]


def test_what_is_held_has_room_too(server: Make) -> None:
    made = server(max_site_share=0.4, limits=Limits(max_cases=2**19))
    assert made.accept(honest("a", 1, 2**19)).ok
    assert made.accept(honest("b", 2, 2**19 - 100)).ok
    assert "101 more are too many" in made.accept(honest("c", 3, 101)).reason
    assert made.accept(honest("d", 4, 50)).ok
    assert made.close().outcome == "merged"


def test_a_rejected_value_is_not_held(server: Make) -> None:
    bad = honest("site-9", 9, 1000)
    bad.diff["trunk.weight"][0, 0] = np.nan
    made, clean = server(max_site_share=0.5), server(max_site_share=0.5)
    assert not made.accept(bad).ok
    for sent in SENT:
        made.accept(sent), clean.accept(sent)
    assert as_bytes(made.close().diff) == as_bytes(clean.close().diff)
