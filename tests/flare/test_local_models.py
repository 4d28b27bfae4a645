# SPDX-License-Identifier: Apache-2.0
"""A run whose sites submit their local models: each is evaluated everywhere, and what a site keeps stays with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nvflare.apis.dxo import from_file

from fedpac_me.config import load_config
from fedpac_me.model.backbone import build_model
from fedpac_me.model.checkpoint import find_checkpoint, read_checkpoint
from fedpac_me.model.own import is_own


@pytest.fixture(scope="module")
def config_file(tiny_config, tmp_path_factory) -> Path:
    """One round, with a part of the network that a site keeps for itself."""
    content = json.loads(tiny_config.read_text())
    content["model"]["own"] = "all"
    content["federation"]["rounds"] = 1
    content["evaluation"]["local_models"] = True
    path = tmp_path_factory.mktemp("config") / "submitted.json"
    path.write_text(json.dumps({**content, "method": "submitted"}))
    return path


@pytest.fixture(scope="module")
def run(train_module, config_file, hospitals, tmp_path_factory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    words = ["--config", config_file, "--data", hospitals, "--runs", runs]
    assert train_module.main([str(word) for word in words]) == 0
    return runs / "submitted"


def test_every_model_was_evaluated_at_every_site(run):
    matrix = json.loads((run / "report.json").read_text())["cross_site"]
    assert matrix["models"] == ["final", "site-1", "site-2"]  # there is no best one after a single round
    assert [column["site"] for column in matrix["sites"]] == ["site-1", "site-2", "site-3"]
    assert all(value is not None for rows in matrix["dice"].values() for row in rows for value in row)
    assert len((run / "cases.csv").read_text().splitlines()) == 1 + 3 * 3


def test_a_submitted_model_is_the_sites_and_has_nothing_that_the_site_keeps(run, config_file):
    shared = read_checkpoint(find_checkpoint(run))
    submitted = {path.name: from_file(str(path)).data for path in run.rglob("model_shareables/site-*")}
    assert submitted.keys() == {"site-1", "site-2"}  # the third never trains
    assert any(map(is_own, build_model(load_config(config_file)).state_dict()))
    for weights in submitted.values():
        assert weights.keys() == shared.keys() and not any(map(is_own, weights))
        assert any(weights[name].tobytes() != shared[name].tobytes() for name in shared)
    assert any(submitted["site-1"][name].tobytes() != submitted["site-2"][name].tobytes() for name in shared)
