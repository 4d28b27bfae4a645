# SPDX-License-Identifier: Apache-2.0
"""Regions that merge their own sites, and a top that merges the regions, come to the bytes of one merge of all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpac_me.config import parse_config
from fedpac_me.federation import update as wire
from fedpac_me.federation.gathering import AddedAtOnce
from fedpac_me.federation.merge import CASES, MASS, RULES, ExpertWiseMerge
from fedpac_me.federation.moments import from_moments, to_moments, variances
from fedpac_me.federation.momentum import ServerMomentum
from fedpac_me.federation.norm_bound import NormBound
from fedpac_me.federation.rejection import Rejected
from fedpac_me.federation.scan import Scan
from fedpac_me.federation.schema import Schema, expert_of, is_statistic
from fedpac_me.federation.server_round import RoundServer
from fedpac_me.federation.site_update import SiteUpdate
from fedpac_me.federation.update import Contribution
from fedpac_me.model.backbone import build_model, get_weights

from .contributions import ROUND, as_bytes, facts_of

MODEL = {
    "trunk.weight": np.array([1.0, -2.0], np.float32),
    "trunk.running_mean": np.array([0.5], np.float32),
    "trunk.running_var": np.array([2.0], np.float32),
    "n.experts.0.weight": np.array([0.1, 0.2, 0.3], np.float32),
    "n.experts.0.running_mean": np.array([3.0], np.float32),
    "n.experts.0.running_var": np.array([4.0], np.float32),
    "n.experts.1.weight": np.array([0.0, 0.0, 0.0], np.float32),
    "n.experts.1.running_mean": np.array([0.0], np.float32),
    "n.experts.1.running_var": np.array([1.0], np.float32),
}
Update = tuple[dict[str, np.ndarray], int, list[float]]
"""A site's difference as it is sent, its cases and its masses."""


def update_of(seed: int, cases: int, mass: list[float], model: dict[str, np.ndarray] = MODEL) -> Update:
    """An honest site that ends with odd statistics; what it did not use it does not send."""
    rng = np.random.default_rng(seed)
    site = {name: value + 0.01 * rng.standard_normal(value.shape) for name, value in model.items()}
    for name, value in site.items():
        if is_statistic(name):
            site[name] = 30 * rng.random(value.shape) - (0 if name.endswith("var") else 15)
    diff = {name: np.asarray(site[name] - model[name], np.float32) for name in model}
    used = {name: value for name, value in diff.items() if (e := expert_of(name)) is None or mass[e] > 0}
    return to_moments(used), cases, mass


def gathered(made: ExpertWiseMerge, updates: list[Update]) -> ExpertWiseMerge:
    for update in updates:
        made.add(*update)
    return made


def next_model(merge: ExpertWiseMerge, model: dict[str, np.ndarray] = MODEL) -> dict[str, bytes]:
    """The bytes of the model after the round, its statistics from their moments."""
    step = from_moments(merge.result(), variances(model))
    return as_bytes({name: value + step.get(name, 0) for name, value in model.items()})


site = st.builds(
    lambda seed, cases, share: update_of(seed, cases, [cases * share, cases - cases * share]),
    st.integers(0, 999), st.integers(1, 900), st.sampled_from([0.0, 1.0]) | st.floats(0, 1),
)  # fmt: skip


@given(
    st.lists(st.lists(site, max_size=3), min_size=1, max_size=4),
    st.lists(site, max_size=2),
    st.sampled_from(RULES),
    st.sampled_from([0.0, 2.5]),
    st.randoms(),
)
def test_regions_and_sites_of_the_tops_own_give_the_bytes_of_one_merge(regions, direct, rule, prior, random) -> None:
    together = [update for updates in (*regions, direct) for update in updates]
    random.shuffle(together)
    expected = next_model(gathered(ExpertWiseMerge(Schema.learn(MODEL), rule, prior), together))
    top = ExpertWiseMerge(Schema.learn(MODEL), rule, prior)
    partial = [gathered(ExpertWiseMerge(Schema.learn(MODEL), rule, prior), updates) for updates in regions]
    before = [next_model(region) for region in partial]
    for region in partial:
        top.merge(region)
    assert next_model(gathered(top, direct)) == expected
    assert [next_model(region) for region in partial] == before


def test_the_variance_of_two_regions_is_that_of_their_sites_together() -> None:
    """1 case around 1 with variance 2, 3 cases around 5 with variance 6: mean 4, variance (2 + 18)/4 + (9 + 3·1)/4."""
    top = ExpertWiseMerge(Schema.learn(MODEL))
    for mean, variance, cases in ((1.0, 2.0, 1), (5.0, 6.0, 3)):
        ends = MODEL | {
            "n.experts.0.running_mean": np.array([mean], np.float32),
            "n.experts.0.running_var": np.array([variance], np.float32),
        }
        diff = to_moments({name: ends[name] - value for name, value in MODEL.items()})
        top.merge(gathered(ExpertWiseMerge(Schema.learn(MODEL)), [(diff, cases, [cases, 0])]))
    after = next_model(top)
    assert after["n.experts.0.running_mean"] == np.float32(4).tobytes()
    assert after["n.experts.0.running_var"] == np.float32(8).tobytes()
    assert after["n.experts.1.running_var"] == MODEL["n.experts.1.running_var"].tobytes()


def test_three_levels_of_a_real_network_with_batch_statistics_and_adapters() -> None:
    config = {
        "method": "m",
        "title": "t",
        "model": {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1], "norm": "batch", "experts": 3},
    }
    config["model"]["adapter_rank"] = 2
    model = get_weights(build_model(parse_config(config)))
    masses = [[7.0, 0.0, 0.0], [0.5, 2.5, 0.0], [0.0, 4.0, 0.0], [1.25, 1.75, 0.0], [9.0, 0.0, 0.0]]
    updates = [update_of(seed, int(sum(mass)), mass, model) for seed, mass in enumerate(masses)]
    schema = Schema.learn(model)
    expected = next_model(gathered(ExpertWiseMerge(schema), updates), model)
    city, land, top = (ExpertWiseMerge(schema) for _ in range(3))
    land.merge(gathered(city, updates[:2]))
    top.merge(gathered(land, updates[2:3]))
    assert next_model(gathered(top, updates[3:]), model) == expected
    moved = {name for name, value in model.items() if expected[name] != value.tobytes()}
    assert {expert_of(name) for name in moved} == {None, 0, 1}
    assert any(map(is_statistic, moved))


def test_what_a_region_refused_is_in_no_byte_of_the_top() -> None:
    good, bad = update_of(1, 10, [4.0, 6.0]), update_of(2, 20, [20.0, 0.0])
    last = next(name for name in reversed(MODEL) if name in bad[0])

    def refuse(name: str, values: np.ndarray) -> float:
        if name == last:
            raise ValueError("refused")
        return 1024.0

    region, top = gathered(ExpertWiseMerge(Schema.learn(MODEL)), [good]), ExpertWiseMerge(Schema.learn(MODEL))
    with pytest.raises(ValueError, match="refused"):
        region.add(*bad, refuse)
    top.merge(region)
    assert next_model(top) == next_model(gathered(ExpertWiseMerge(Schema.learn(MODEL)), [good]))


def sent_by(number: int, spoilt: bool = False) -> Contribution:
    """A site's answer as it comes over the wire; a spoilt one holds NaN at the very end."""
    diff, cases, mass = update_of(number, 7 + 3 * number, [2.0 + number, 5.0 + 2 * number])
    if spoilt:
        diff[next(reversed(diff))][...] = np.nan
    facts = facts_of(MODEL, cases, expert_mass=mass)
    return Contribution(f"site-{number}", "WEIGHT_DIFF", ROUND, diff, facts)


def region_of(contributions: list[Contribution], bound: NormBound) -> tuple[ExpertWiseMerge, list[str]]:
    """An intermediate aggregator: the server's own checks in front of its sums; and whom it refused."""
    schema, merge = Schema.learn(MODEL), ExpertWiseMerge(Schema.learn(MODEL))
    gathering, refused = AddedAtOnce(merge), []
    for sent in contributions:
        verdict = wire.check(schema, sent, ROUND, (), values=False)
        try:
            assert verdict.ok, verdict.reason
            ready = SiteUpdate(sent.site, sent.diff, verdict.cases, verdict.expert_mass)
            gathering.add(ready, Scan(wire.DEFAULT_LIMITS.bound), bound)
        except Rejected:
            refused.append(sent.site)
    return merge, refused


@pytest.mark.parametrize("split", [(2, 4), (1, 3), (0, 5)])
@pytest.mark.parametrize("first", [0.0, 0.02])
def test_regions_that_check_as_the_server_does_come_to_the_servers_own_bytes(split, first) -> None:
    """From answers as they arrive, one of them hostile, through checks, clipping and momentum."""
    sent = [sent_by(number, spoilt=number == 3) for number in range(7)]
    rules = {"clip_norm_factor": 2.0 if first else 0.0, "clip_norm_first": first}
    server = RoundServer(server_momentum=0.6, **rules)
    assert server.begin(ROUND, MODEL) == ""
    verdicts = [server.accept(one) for one in reversed(sent)]
    assert [verdict.ok for verdict in reversed(verdicts)] == [number != 3 for number in range(7)]
    assert any(verdict.flags for verdict in verdicts) == bool(first)
    expected = as_bytes(server.close().diff)

    top, refused = ExpertWiseMerge(Schema.learn(MODEL)), []
    for part in (sent[: split[0]], sent[split[0] : split[1]], sent[split[1] :]):
        region, names = region_of(part, NormBound(rules["clip_norm_factor"], first))
        top.merge(region)
        refused += names
    step = ServerMomentum(0.6).apply(from_moments(top.result(), variances(MODEL)))
    assert refused == ["site-3"]
    assert as_bytes(step) == expected


def test_regions_that_cannot_be_merged_leave_the_top_as_it_was() -> None:
    top = gathered(ExpertWiseMerge(Schema.learn(MODEL)), [update_of(1, 10, [4.0, 6.0])])
    before = next_model(top)
    fewer = {name: value for name, value in MODEL.items() if "experts.1" not in name}
    wider = MODEL | {"n.experts.1.weight": np.zeros(4, np.float32)}
    full = update_of(2, 2**20, [0.0, 2.0**20])
    for schema, rule, update, error in (
        (Schema.learn(fewer), MASS, None, ValueError),
        (Schema.learn(wider), MASS, None, ValueError),
        (Schema.learn(MODEL), CASES, None, ValueError),
        (Schema.learn(MODEL), MASS, full, OverflowError),
    ):
        region = gathered(ExpertWiseMerge(schema, rule), [update] if update else [])
        with pytest.raises(error):
            top.merge(region)
        assert next_model(top) == before
