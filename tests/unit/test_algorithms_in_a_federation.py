# SPDX-License-Identifier: Apache-2.0
"""Published algorithms in whole federations: what they leave as it was, to the byte, and what they change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_federation import SMALL, TRAINING, as_bytes, config, farthest, rebuilt_federation, write_hospitals

from fedpac_me.config import Config, load_config
from fedpac_me.engine import Outcome, run_federation
from fedpac_me.federation.schema import CONTROL
from fedpac_me.learning.site_state import SiteState
from fedpac_me.model.backbone import build_model
from fedpac_me.model.own import is_own

pytestmark = pytest.mark.slow  # whole federations

APP_CONFIGS = Path(__file__).parents[2] / "app_configs"
FILES = ("fedprox", "scaffold", "ditto", "fedper", "fedrep", "moon", "fedadam")
KEEP_STATE = {
    "scaffold": {"algorithm": {"name": "scaffold"}},
    "ditto": {"algorithm": {"name": "ditto", "proximal_weight": 0.1}},
    "fedrep": {"model": {"own": "last_layer"}, "algorithm": {"name": "fedrep", "head_steps": 1}},
    "moon": {"algorithm": {"name": "moon", "contrast_weight": 5.0}},
    "fedadam": {"federation": {"server_adam": {}}},
}


class Runs:
    """Each configuration is run once."""

    def __init__(self, root: Path) -> None:
        self.data = write_hospitals(root / "hospitals")
        self.root = root
        self._done: dict[str, Outcome] = {}

    def folder(self, made: Config) -> Path:
        return self.root / made.hash

    def outcome(self, made: Config) -> Outcome:
        if made.hash not in self._done:
            self._done[made.hash] = run_federation(made, self.data, self.folder(made), lambda line: None)
        return self._done[made.hash]

    def weights(self, **changes) -> dict[str, np.ndarray]:
        return self.outcome(config(**changes)).weights

    def kept(self, made: Config, site: str) -> SiteState:
        self.outcome(made)
        return SiteState.load(self.folder(made) / site, torch.device("cpu"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    return Runs(tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize(
    ("name", "number", "weight"),
    [("fedprox", "proximal_weight", 10.0), ("moon", "contrast_weight", 5.0)],
    ids=["fedprox", "moon"],
)
def test_weight_0_is_federated_averaging_to_the_byte_and_no_other_weight_is(runs, name, number, weight) -> None:
    plain = runs.weights()
    assert as_bytes(runs.weights(algorithm={"name": name, number: 0.0})) == as_bytes(plain)
    assert farthest(runs.weights(algorithm={"name": name, number: weight}), plain) > 1e-6


def test_fedprox_stays_nearer_to_the_first_model(runs) -> None:
    first = {name: value.numpy() for name, value in build_model(config()).state_dict().items()}
    far = [
        sum(float(np.square(runs.weights(**changes)[name] - first[name]).sum()) for name in first)
        for changes in ({}, {"algorithm": {"name": "fedprox", "proximal_weight": 10.0}})
    ]
    assert far[1] < 0.9 * far[0]


def test_dittos_shared_model_is_that_of_federated_averaging_to_the_byte(runs) -> None:
    plain, ditto = runs.outcome(config()), runs.outcome(config(**KEEP_STATE["ditto"]))
    assert as_bytes(ditto.weights) == as_bytes(plain.weights)
    scores = {
        name: [[{**row, "seconds": 0} for row in outcome.evaluations[name]["cases"]] for outcome in (plain, ditto)]
        for name in (*TRAINING, "site-3")
    }
    assert scores["site-3"][0] == scores["site-3"][1]  # the shared model predicts where nobody trained
    assert all(scores[site][0] != scores[site][1] for site in TRAINING)


def test_dittos_own_model_with_lambda_0_is_that_of_a_site_alone_to_the_byte(runs) -> None:
    alone = config(federation={"share": "nothing", "quorum": 0})
    free = config(algorithm={"name": "ditto", "proximal_weight": 0.0})
    for site in TRAINING:
        assert as_bytes(runs.kept(free, site).weights) == as_bytes(runs.kept(alone, site).weights)


def test_a_large_lambda_holds_dittos_own_model_at_the_shared_one(runs) -> None:
    """In steps of AdamW, each at most about as long as the learning rate."""
    received = runs.outcome(config(federation={"rounds": 1})).weights  # what the second round began with
    apart = {}
    for weight in (0.0, 1e4):
        made = config(algorithm={"name": "ditto", "proximal_weight": weight})
        apart[weight] = [farthest(received, runs.kept(made, site).weights) for site in TRAINING]
    assert max(apart[1e4]) < min(apart[0.0])


def test_scaffolds_first_round_is_federated_averagings_to_the_byte_its_second_is_not(runs) -> None:
    for rounds, same in ((1, True), (2, False)):
        plain = runs.weights(federation={"rounds": rounds})
        corrected = runs.weights(**KEEP_STATE["scaffold"], federation={"rounds": rounds})
        assert (as_bytes({name: corrected[name] for name in plain}) == as_bytes(plain)) is same


def test_scaffolds_control_is_the_mean_of_the_sites_by_cases(runs) -> None:
    made = config(**KEEP_STATE["scaffold"])
    weights = runs.outcome(made).weights
    mine = {site: runs.kept(made, site).algorithm["control"] for site in TRAINING}
    controls = {name.removesuffix(CONTROL): value for name, value in weights.items() if name.endswith(CONTROL)}
    assert controls.keys() >= mine["site-1"].keys() and any(value.any() for value in controls.values())
    for name in mine["site-1"]:
        mean = (2 * mine["site-1"][name] + 3 * mine["site-2"][name]) / 5
        assert np.allclose(controls[name], mean.numpy(), atol=1e-6)


def test_scaffolds_control_is_not_moved_by_the_servers_momentum(runs) -> None:
    """The first difference with momentum is stretched; the control variate's is not."""
    rounds = {"rounds": 1, "server_momentum": 0.6}
    pushed = runs.weights(**KEEP_STATE["scaffold"], federation=rounds)
    plain = runs.weights(**KEEP_STATE["scaffold"], federation={"rounds": 1})
    same = {name for name in plain if as_bytes(pushed)[name] == as_bytes(plain)[name]}
    assert {name for name in plain if name.endswith(CONTROL)} <= same
    assert "backbone.convInit.conv.weight" not in same


@pytest.mark.parametrize("own", [KEEP_STATE["fedrep"], {"model": {"own": "last_layer"}}], ids=["fedrep", "fedper"])
def test_the_last_layer_stays_at_its_site_and_is_the_sites_own(runs, own) -> None:
    made = config(**own)
    outcome = runs.outcome(made)
    layer = {name for name in build_model(made).state_dict() if is_own(name)}
    assert any(name.endswith("conv.weight") for name in layer)
    assert not layer & outcome.weights.keys()
    assert not any("conv_final" in name for name in outcome.weights)
    one, other = (runs.kept(made, site).weights for site in TRAINING)
    assert one.keys() == other.keys() == layer
    assert farthest(one, other) > 0


def test_fedrep_is_not_fedper(runs) -> None:
    assert farthest(runs.weights(**KEEP_STATE["fedrep"]), runs.weights(model={"own": "last_layer"})) > 1e-6


def test_fedadam_is_not_federated_averaging(runs) -> None:
    assert farthest(runs.weights(**KEEP_STATE["fedadam"]), runs.weights()) > 1e-6


@pytest.mark.parametrize("name", KEEP_STATE)
def test_processes_that_are_all_new_in_every_round_give_the_same_bytes(runs, tmp_path, name) -> None:
    made = config(**KEEP_STATE[name])
    rebuilt = rebuilt_federation(made, runs.data, tmp_path)
    assert as_bytes(rebuilt) == as_bytes(runs.outcome(made).weights)
    for site in TRAINING:
        kept = SiteState.load(tmp_path / site, torch.device("cpu"))
        assert as_bytes(kept.weights) == as_bytes(runs.kept(made, site).weights)


def test_fedbn_keeps_a_sites_normalisation_as_the_site_alone_made_it(runs) -> None:
    """After one round: the merge gives expert e what site e trained, whatever the other site did."""
    model = {"norm": "batch", "experts": 2, "shared_affine": False}
    fedbn = {"model": model, "router": {"keys": "site"}}
    shared = runs.weights(**fedbn, federation={"rounds": 1})
    alone = config(**fedbn, federation={"rounds": 1, "share": "nothing", "quorum": 0})
    for expert, site in enumerate(TRAINING):
        mine = runs.kept(alone, site).weights
        names = [name for name in mine if f"experts.{expert}." in name]
        assert any(name.endswith("running_var") for name in names)
        assert farthest({name: mine[name] for name in names}, shared) < 1e-6


@pytest.mark.parametrize("file", FILES)
def test_every_configuration_of_an_algorithm_runs(runs, file) -> None:
    small = {section: SMALL[section] for section in ("data", "model", "learning", "federation", "evaluation")}
    made = load_config(APP_CONFIGS / f"{file}.json", {**small, "algorithm": {"head_steps": 1}})
    outcome = runs.outcome(made)
    assert [entry.outcome for entry in outcome.ledger.rounds] == ["merged"] * 2
    assert all(np.isfinite(value).all() for value in outcome.weights.values())
    assert [len(outcome.evaluations[site]["cases"]) for site in (*TRAINING, "site-3")] == [1, 1, 1]
