# SPDX-License-Identifier: Apache-2.0
"""Tuning is fair: as many settings for one method as for another, judged by validation Dice and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_up_comparison import finish

import tuning
from cases import write_case
from fedpac_me.comparison import compare
from fedpac_me.comparison.methods import load_methods

VALIDATION = {"fedprox-0": 0.5, "fedprox-1": 0.7, "ditto-0": 0.6, "ditto-1": 0.4, "ditto-2": 0.6}
"""Of made-up runs; fedprox-2 fails."""


@pytest.fixture
def hospitals(tmp_path: Path) -> Path:
    root = tmp_path / "hospitals"
    for site in ("site-1", "site-2"):
        ids = [f"{site}_{number}" for number in range(4)]
        for number, case in enumerate(ids):
            write_case(root / site, case, edge=16, seed=number)
        (root / site / "splits.json").write_text(
            json.dumps({"train": ids[:2], "validation": ids[2:3], "test": ids[3:]})
        )
    return root


@pytest.fixture
def made_up_runs(monkeypatch) -> None:
    """Nothing is trained: predictions of the worst setting by validation are the best on test cases."""

    def run_missing(planned, request, tell):
        for run in planned:
            if run.method.name in VALIDATION:
                dice = VALIDATION[run.method.name] + 0.01 * run.seed
                finish(run, int(10 * VALIDATION[run.method.name]) - 4, dice)
        return {run.folder.name: "It fell over." for run in planned if not run.done}

    monkeypatch.setattr(compare, "_run_missing", run_missing)


def test_every_method_has_as_many_settings_all_different_and_its_own_among_them(tmp_path):
    assert len({len(settings) for settings in tuning.GRID.values()}) == 1
    for name, settings in tuning.GRID.items():
        methods = load_methods([str(tuning.write_setting(tmp_path, name, number)) for number in range(len(settings))])
        (usual,) = load_methods([name])
        plain = [method.config.model_copy(update={"method": name}) for method in methods]
        assert len({config.hash for config in plain}) == len(settings)
        assert usual.config.hash in {config.hash for config in plain}


def test_the_best_on_validation_cases_is_chosen_and_no_test_score_is_written(made_up_runs, hospitals, tmp_path):
    page = tmp_path / "tuning.md"
    words = ["--methods", "fedprox", "ditto", "--rounds", "2", "--seeds", "0", "1", "--data", str(hospitals)]
    assert tuning.main([*words, "--out", str(tmp_path / "out"), "--page", str(page)]) == 1
    result = json.loads(page.with_suffix(".json").read_text())
    assert [tried["chosen"] for tried in result["methods"]["fedprox"]] == [False, True, False]
    assert [tried["chosen"] for tried in result["methods"]["ditto"]] == [True, False, False]  # the first of equals
    assert result["methods"]["fedprox"][1]["as_is"] and result["methods"]["fedprox"][1]["validation"]["runs"] == 2
    text = page.read_text()
    assert "| fedprox | algorithm.proximal_weight 0.001 | 2 | 0.505 ± 0.005 |" in text
    assert "| fedprox | algorithm.proximal_weight 0.01 (as is) | 2 | **0.705 ± 0.005** |" in text
    assert "| fedprox | algorithm.proximal_weight 0.1 | 0 (2 failed) | - |" in text
    assert "2 rounds, training seeds 0, 1, data hospitals." in text
    assert not {"test_dice", "seen", "unseen"} & set(str(result["methods"]).replace("'", " ").split())
    assert str(tmp_path) not in json.dumps({**result, "command": ""})
