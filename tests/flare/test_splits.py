# SPDX-License-Identifier: Apache-2.0
"""``jobs/train.py --splits``, as far as the simulator, which is handed one folder a site of the split."""

from __future__ import annotations

import json

import pytest

from cases import write_case
from fedpac_me import run_info
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


def test_a_run_records_how_its_sites_were_made_and_no_case(train_module, tiny_config, folder, monkeypatch):
    def report(run):
        raise simulation.SimulationFailed("far enough")

    monkeypatch.setattr(simulation, "simulate", lambda *arguments: None)
    monkeypatch.setattr(run_info, "find_checkpoint", lambda run: run)
    monkeypatch.setattr(run_info, "read_checkpoint", lambda path: {})
    monkeypatch.setattr("fedpac_me.evaluation.report.write_report", report)
    assert train(train_module, tiny_config, folder) == 1
    written = (folder / "runs" / "tiny" / "run.json").read_text()
    split = json.loads(written)["data"]["split"]
    assert split["how"] == {"by": "iid", "seed": 0, "sites": 2}
    made = json.loads((folder / "splits.json").read_text())["sites"]
    assert split["sites"] == {
        name: {"role": "train", **{part: len(cases[part]) for part in ("train", "validation", "test")}}
        for name, cases in made.items()
    }
    assert "C_" not in written and str(folder) not in written


def test_a_data_folder_without_the_cases_is_refused(train_module, tiny_config, folder, capsys):
    write_case(folder / "other", "C_0", edge=16)
    assert train(train_module, tiny_config, folder, "--data", folder / "other") == 2
    assert "names cases that are not in" in capsys.readouterr().err
    assert not (folder / "runs").exists()
