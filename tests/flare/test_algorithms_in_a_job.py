# SPDX-License-Identifier: Apache-2.0
"""Control variates in the model, and Adam at the server, through FLARE's real processes."""

from __future__ import annotations

import json

import pytest

from fedpac_me.config import load_config
from fedpac_me.engine import run_federation
from fedpac_me.federation.schema import CONTROL
from fedpac_me.model.checkpoint import find_checkpoint, read_checkpoint


@pytest.fixture(scope="module")
def config_file(tiny_config, tmp_path_factory):
    content = json.loads(tiny_config.read_text())
    content["algorithm"] = {"name": "scaffold"}
    content["federation"] = {"rounds": 2, "server_adam": {"beta1": 0.5}}
    path = tmp_path_factory.mktemp("config") / "scaffold.json"
    path.write_text(json.dumps({**content, "method": "scaffold"}))
    return path


def test_scaffold_and_fedadam_give_the_same_bytes_in_the_simulator_and_in_one_process(
    train_module, config_file, hospitals, tmp_path
):
    words = ["--config", config_file, "--data", hospitals, "--runs", tmp_path]
    assert train_module.main([str(word) for word in words]) == 0
    flares = read_checkpoint(find_checkpoint(tmp_path / "scaffold"))
    ours = run_federation(load_config(config_file), hospitals, tmp_path / "engine", lambda line: None).weights
    assert ours.keys() == flares.keys()
    assert [name for name in ours if ours[name].tobytes() != flares[name].tobytes()] == []
    assert any(name.endswith(CONTROL) and value.any() for name, value in ours.items())
