# SPDX-License-Identifier: Apache-2.0
"""A job that goes on keeps the run's state at the server: sites get their own app, without it."""

from __future__ import annotations

import json

import pytest

from fedpac_me.config import load_config
from fedpac_me.federation.ledger import Accepted, Ledger, Refused, RoundRecord
from fedpac_me.federation.run_state import RunState
from fedpac_me.model.backbone import build_model, get_weights


@pytest.fixture
def state(tiny_config, tmp_path):
    ledger = Ledger()
    accepted = (Accepted("site-2", cases=3, steps=2, seconds=1.0, norm=1.0),)
    refused = (Refused("(server)", "a fault"), Refused("site-10", "no cases"))
    ledger.add(RoundRecord(0, "merged", accepted=accepted, rejected=refused, abstained=("site-1",)))
    config = load_config(tiny_config)
    return RunState("earlier", 0, config.to_dict(), ledger, get_weights(build_model(config))).save(tmp_path / "states")


def test_a_job_that_ended_early_can_go_on_only_from_a_round_that_was_finished(federation_module, state, tmp_path):
    assert f"--resume {state.parent} --export" in federation_module.how_to_go_on(state.parent)
    (tmp_path / "empty").mkdir()
    assert federation_module.how_to_go_on(tmp_path / "empty") == ""


@pytest.mark.parametrize("installed", [[], ["--installed"]])
def test_the_state_is_in_the_servers_app_and_in_no_other(train_module, state, tmp_path, installed):
    words = ["--resume", str(state), "--export", "--export-dir", str(tmp_path / "jobs"), "--name", "on", *installed]
    assert train_module.main(words) == 0
    job = tmp_path / "jobs/on"
    meta = json.loads((job / "meta.json").read_text())
    assert meta["deploy_map"] == {"app_server": ["server"], "app_sites": ["site-1", "site-10", "site-2"]}
    configs = {app: {path.name for path in (job / app / "config").iterdir()} for app in meta["deploy_map"]}
    assert configs == {
        "app_server": {"config_fed_server.json", "state-0.npz"},
        "app_sites": {"config_fed_client.json"},
    }
    assert [(job / app / "custom").is_dir() for app in meta["deploy_map"]] == [not installed] * 2
    (executor,) = json.loads((job / "app_sites/config/config_fed_client.json").read_text())["executors"]
    assert executor["executor"]["args"]["resumes"] == "earlier"
