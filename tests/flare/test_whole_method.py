# SPDX-License-Identifier: Apache-2.0
"""The whole method through FLARE's real processes, against the same federation in one process."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from fedpac_me.config import load_config
from fedpac_me.engine import run_federation
from fedpac_me.flare.site_context import STATES_FOLDER
from fedpac_me.learning.site_state import SiteState
from fedpac_me.model.checkpoint import find_checkpoint, read_checkpoint
from fedpac_me.model.own import is_own
from flare_tools import curves


@pytest.fixture(scope="module")
def run(train_module, whole_method, hospitals, tmp_path_factory):
    """A finished simulator run with fewer threads than sites."""
    runs = tmp_path_factory.mktemp("runs")
    words = ["--config", whole_method, "--data", hospitals, "--runs", runs, "--threads", "2"]
    assert train_module.main([str(word) for word in words]) == 0
    return runs / "experts"


def test_the_simulator_and_one_process_give_the_same_bytes(run, whole_method, hospitals, tmp_path):
    ours = run_federation(load_config(whole_method), hospitals, tmp_path, progress=lambda line: None).weights
    flares = read_checkpoint(find_checkpoint(run))
    assert ours.keys() == flares.keys()
    assert [name for name in ours if ours[name].tobytes() != flares[name].tobytes()] == []


def test_what_a_site_keeps_for_itself_never_reaches_the_server(run):
    assert not any(map(is_own, read_checkpoint(find_checkpoint(run))))
    state = SiteState.load(run / "site-1" / STATES_FOLDER / "simulate_job", torch.device("cpu"))
    assert state.weights and all(value.any() for value in state.weights.values())


def test_the_keys_were_found_and_frozen(run):
    weights = read_checkpoint(find_checkpoint(run))
    assert weights["router.share"].sum() == pytest.approx(1)
    assert not np.array_equal(weights["router.keys"][0], weights["router.keys"][1])


def test_the_ledger_and_the_cases_say_who_spoke(run):
    (path,) = run.rglob("ledger.json")
    for entry in json.loads(path.read_text())["rounds"]:
        assert sum(entry["experts"]["mass"]) == sum(line["cases"] for line in entry["accepted"]) == 4
        assert entry["experts"]["dead"] == []
    last = json.loads(path.read_text())["rounds"][-1]["metrics"]["site-1"]
    assert {"pacl_prototype", "pacl_view", "train_loss"} <= last.keys()
    header = (run / "cases.csv").read_text().splitlines()[0].split(",")
    assert {"expert", "distance", "far", "second_expert", "second_dice_WT"} <= set(header)


def test_curves_show_the_routing_and_the_parts_of_the_loss_by_round(run):
    found = curves(run)
    scans = {"expert_0_scans", "expert_1_scans"}
    for site in ("site-1", "site-2"):
        assert scans | {"pacl_prototype", "pacl_view"} <= found[site].keys()
    assert not scans & found["site-3"].keys()
    server = {"expert_mass/0", "expert_mass/1", "routing_entropy", "dead_experts", "prototype_drift"}
    assert server <= found["server"].keys()
    assert {tuple(steps) for tags in found.values() for steps in tags.values()} <= {(0, 1), (1,)}
