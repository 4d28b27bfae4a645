# SPDX-License-Identifier: Apache-2.0
"""``jobs/train.py --splits``, as far as the simulator, which is handed one folder a site of the split."""

from __future__ import annotations

import json

import pytest

from cases import write_case
from fedpac_me.cli import main
from fedpac_me.flare import simulation


@pytest.fixture
def folder(tmp_path):
    for number in range(12):
        write_case(tmp_path / "data", f"C_{number}", edge=16, seed=number)
    words = ["split", "--data", tmp_path / "data", "--by", "iid", "--sites", "2", "--no-images"]
    assert main([str(word) for word in [*words, "--out", tmp_path / "splits.json"]]) == 0
    return tmp_path


def train(train_module, tiny_config, folder, *words) -> int:
    words = ["--config", tiny_config, "--splits", folder / "splits.json", "--runs", folder / "runs", *words]
    return train_module.main([str(word) for word in words])


def test_training_takes_the_splits(train_module, tiny_config, folder, monkeypatch, capsys):
    seen = {}

    def simulate(config, name, runs, data, *rest):
        for site in data.iterdir():
            seen[site.name] = json.loads((site / "site.json").read_text())
            assert {path.name for path in site.iterdir()} == {"site.json", "splits.json"}
        raise simulation.SimulationFailed("far enough")

    monkeypatch.setattr(simulation, "simulate", simulate)
    assert train(train_module, tiny_config, folder) == 1
    settings = {"data": str(folder / "data"), "role": "train", "splits": "splits.json"}
    assert seen == {"site-1": settings, "site-2": settings}
    assert "2 sites, 12 cases" in capsys.readouterr().out


def test_a_data_folder_without_the_cases_is_refused(train_module, tiny_config, folder, capsys):
    write_case(folder / "other", "C_0", edge=16)
    assert train(train_module, tiny_config, folder, "--data", folder / "other") == 2
    assert "names cases that are not in" in capsys.readouterr().err
    assert not (folder / "runs").exists()
