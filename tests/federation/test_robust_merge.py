# SPDX-License-Identifier: Apache-2.0
"""Robust merges through the server: hostile sites, votes, preconditions, groups of tensors."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fedpac_me.config import parse_config
from fedpac_me.errors import InputError
from fedpac_me.federation import layout
from fedpac_me.federation.gathering import Merged
from fedpac_me.federation.norm_bound import NormBound
from fedpac_me.federation.robust import middle, site_weights, sites_needed, squared_distances
from fedpac_me.federation.robust_merge import RobustMerge
from fedpac_me.federation.scan import Scan
from fedpac_me.federation.schema import Schema
from fedpac_me.federation.server_round import RoundServer, server_arguments
from fedpac_me.federation.site_update import SiteUpdate
from fedpac_me.federation.update import DEFAULT_LIMITS, Contribution

from .contributions import as_bytes, diff_of, honest, model

Make = Callable[..., RoundServer]
VOTING = ("median", "trimmed_mean", "geometric_median", "multi_krum")


def result_of(server: Make, sent: list[Contribution], rule: str, **options) -> dict[str, np.ndarray]:
    made = server(robust=rule, quorum=5, **options)
    for contribution in sent:
        assert made.accept(contribution).ok, contribution
    return made.close().diff


COMMON = diff_of(77)


def near(site: str, seed: int, **meta) -> Contribution:
    """An honest update: one direction, a tenth of noise."""
    noise = diff_of(seed)
    diff = {name: (COMMON[name] + np.float32(0.1) * noise[name]).astype(np.float32) for name in COMMON}
    return replace(honest(site, seed, **meta), diff=diff)


HONEST = [near(f"site-{number}", number) for number in range(5)]


@pytest.mark.parametrize("rule", VOTING)
@pytest.mark.parametrize("factor", [-1.0, -1e3, 1e4])
def test_one_hostile_site_of_six_cannot_steer_shared_layers_or_experts(server: Make, rule: str, factor: float) -> None:
    """The plain mean, beside it, goes wherever the hostile site wants; its 10,000 cases are one vote."""
    diff = {name: np.float32(factor) * value for name, value in COMMON.items()}
    hostile = replace(honest("a-hostile", 9, cases=10000), diff=diff)
    kept = result_of(server, [hostile, *HONEST], rule)
    plain = result_of(server, [hostile, *HONEST], "none")
    for name, value in COMMON.items():
        assert np.abs(kept[name] - value).max() < 0.01, name
        assert np.abs(plain[name] - value).max() > np.abs(value).max()


@pytest.mark.parametrize("rule", VOTING)
def test_any_order_gives_the_same_bytes(server: Make, rule: str) -> None:
    sent = [*HONEST[:4], replace(HONEST[4], diff=diff_of(5))]
    results = {repr(as_bytes(result_of(server, list(o), rule))) for o in itertools.permutations(sent)}
    assert len(results) == 1


@pytest.mark.parametrize("rule", VOTING)
def test_chunks_do_not_matter(server: Make, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = result_of(server, HONEST, rule)
    monkeypatch.setattr(layout, "CHUNK", 2)
    chunked = result_of(server, HONEST, rule)
    assert all(np.allclose(whole[name], chunked[name], rtol=1e-6, atol=1e-9) for name in whole)


@pytest.mark.parametrize("rule", VOTING)
def test_an_expert_with_too_few_votes_is_left_and_the_ledger_says_so(server: Make, rule: str) -> None:
    needed = sites_needed(rule, 1)
    users = {contribution.site for contribution in HONEST[: needed - 1]}
    sent = [replace(c, meta={**c.meta, "expert_mass": [10.0, 0.0] if c.site in users else [0.0, 10.0]}) for c in HONEST]
    made = server(robust=rule, quorum=5)
    for contribution in sent:
        assert made.accept(contribution).ok
    result = made.close()
    assert not any("experts.0" in name for name in result.diff) and "trunk.bias" in result.diff
    assert result.outcome == "merged"
    assert f"Expert 0 was moved by {needed - 1} sites, {rule} needs {needed}: left unchanged." in result.record.notes
    assert not result.record.rejected


def test_an_expert_that_nobody_used_is_left_without_a_word(server: Make) -> None:
    sent = [replace(c, meta={**c.meta, "expert_mass": [10.0, 0.0]}) for c in HONEST]
    made = server(robust="median", quorum=3)
    assert all(made.accept(contribution).ok for contribution in sent)
    result = made.close()
    assert not any("experts.1" in name for name in result.diff) and not result.record.notes


def test_the_prior_and_the_votes_of_sites_that_left_an_expert_out(server: Make) -> None:
    left_out = {name: value for name, value in HONEST[0].diff.items() if "experts.0" not in name}
    sent = [replace(HONEST[0], diff=left_out, meta={**HONEST[0].meta, "expert_mass": [0.0, 10.0]}), *HONEST[1:]]
    plain = result_of(server, sent, "median", expert_merge="cases")
    damped = result_of(server, sent, "median", expert_merge="cases", expert_prior=40.0)
    expected = np.median([c.diff["head.experts.0.weight"] for c in HONEST[1:]], axis=0)
    assert np.allclose(plain["head.experts.0.weight"], expected)
    assert np.allclose(damped["head.experts.0.weight"], expected * 40 / 80)
    assert as_bytes({"w": damped["trunk.weight"]}) == as_bytes({"w": plain["trunk.weight"]})


def test_a_rejected_update_leaves_no_trace(server: Make) -> None:
    bad = near("site-9", 9)
    bad.diff["head.experts.1.bias"][0] = np.inf
    made = server(robust="median", quorum=3)
    assert not made.accept(bad).ok
    for contribution in HONEST:
        made.accept(contribution)
    assert as_bytes(made.close().diff) == as_bytes(result_of(server, HONEST, "median"))


@pytest.mark.parametrize("rule", VOTING)
def test_empty_tensors_and_statistics(rule: str) -> None:
    shapes = {"w": (0, 3), "n.running_mean": (2,), "n.running_var": (2,)}
    weights = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    made = RoundServer(robust=rule, quorum=5)
    made.begin(0, weights)
    for number in range(5):
        diff = {name: np.full(value.shape, number, np.float32) for name, value in weights.items()}
        facts = {"protocol": 1, "signature": made.signature, "cases": 1, "steps": 1}
        assert made.accept(Contribution(f"s{number}", "WEIGHT_DIFF", 0, diff, facts)).ok
    diff = made.close().diff
    assert diff["w"].shape == (0, 3) and np.isfinite(diff["n.running_var"]).all()


def test_preconditions_are_refused_with_a_sentence() -> None:
    for options, words in (
        ({"robust": "multi_krum", "quorum": 4}, "'quorum' must be at least 5, got 4"),
        ({"robust": "multi_krum", "hostile_sites": 2, "quorum": 6}, "'quorum' must be at least 7, got 6"),
        ({"robust": "median", "quorum": 2}, "'quorum' must be at least 3, got 2"),
        ({"robust": "median", "quorum": 3, "max_site_share": 0.5}, "leave 'max_site_share' out"),
        ({"robust": "mean"}, "'robust' must be one of none, norm_clipping, median"),
        ({"expert_merge": "votes"}, "'expert_merge' must be one of mass"),
        ({"hostile_sites": -1}, "'hostile_sites' must be an integer of at least 0"),
        ({"hostile_sites": True}, "'hostile_sites' must be an integer of at least 0"),
        ({"max_site_share": 0.0}, "'max_site_share' must be above 0"),
        ({"max_site_share": float("nan")}, "'max_site_share' must be above 0"),
        ({"expert_prior": -1.0}, "'expert_prior' must be at least 0"),
    ):
        with pytest.raises(InputError, match=re.escape(words)):
            RoundServer(**options)


def test_the_config_names_the_section_and_reaches_the_server() -> None:
    base = {"method": "m", "title": "t"}
    with pytest.raises(InputError, match=r"'federation' is .*'quorum' must be at least 5, got 2"):
        parse_config({**base, "federation": {"robust": "multi_krum"}})
    config = parse_config({**base, "federation": {"robust": "multi_krum", "quorum": 5, "clip_norm_factor": 4}})
    made = RoundServer(**server_arguments(config))
    assert (made.rules.robust, made.rules.clip_norm_factor, made.norm_bound.factor) == ("multi_krum", 4.0, 4.0)


def test_one_vote_is_too_few_and_layers_of_all_are_named_so() -> None:
    made = RobustMerge(Schema.learn(model()), "median", 1, "mass", 0.0)
    made.add(SiteUpdate("a", diff_of(1), 10, (10.0, 0.0)), Scan(DEFAULT_LIMITS.bound), NormBound())
    assert made.close().held == (
        "The shared layers were moved by 1 sites, median needs 3: left unchanged.",
        "Expert 0 was moved by 1 sites, median needs 3: left unchanged.",
    )
    assert made.close() == Merged({})


def test_the_prior_is_weighed_against_what_the_rule_counts(server: Make) -> None:
    """Five sites of 10 cases, 2.5 of them at the expert: 12.5 by mass, 50 by the cases of its users."""
    expected = np.median([c.diff["head.experts.0.weight"] for c in HONEST], axis=0)
    for rule, weight in (("mass", 12.5), ("cases_of_users", 50.0)):
        found = result_of(server, HONEST, "median", expert_merge=rule, expert_prior=50.0)
        assert np.allclose(found["head.experts.0.weight"], expected * weight / (weight + 50.0))


STATED = {"w": (3, 2), "n.running_mean": (4,), "n.running_var": (4,), "h.experts.0.w": (5,), "h.experts.1.w": (5,)}
GROUPS = (["w"], ["n.running_mean", "n.running_var"], ["h.experts.0.w"], ["h.experts.1.w"])


@pytest.mark.parametrize("dtype", ["f2", "f4"])
@pytest.mark.parametrize("rule", VOTING)
def test_each_group_of_tensors_is_what_the_rule_makes_of_it(rule: str, dtype: str) -> None:
    """Weights, statistics and each expert are vectors of their own, among the sites that use them."""
    generator = np.random.default_rng(7)
    scale = {name: 1e3 if "running" in name else 1e-2 for name in STATED}
    diffs = [
        {name: (scale[name] * generator.standard_normal(shape)).astype(dtype) for name, shape in STATED.items()}
        for _ in range(6)
    ]
    made = RobustMerge(Schema.learn({n: np.zeros(s, np.float32) for n, s in STATED.items()}), rule, 1, "mass", 0.0)
    for number, diff in enumerate(diffs):
        masses = (10.0, 0.0) if number == 0 else (2.0**-11, 10.0) if number == 1 else (10.0 - 2.0**-10, 2.0**-10)
        made.add(SiteUpdate(f"s{number}", diff, 10, masses), Scan(DEFAULT_LIMITS.bound), NormBound())
    found = made.close().diff
    for group, names in enumerate(GROUPS):
        voters = diffs if group < 2 else [d for n, d in enumerate(diffs) if n != (1 if group == 2 else 0)]
        values = np.array([np.concatenate([d[name].astype(float).ravel() for name in names]) for d in voters])
        by_value = rule in ("median", "trimmed_mean")
        expected = (
            middle(rule, values, 1)
            if by_value
            else site_weights(rule, squared_distances(values @ values.T), 1) @ values
        )
        got = np.concatenate([found[name].ravel() for name in names])
        assert got.dtype == np.float32
        assert np.allclose(got, expected, rtol=1e-5, atol=1e-7 * scale[names[0]])
