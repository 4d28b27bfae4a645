# SPDX-License-Identifier: Apache-2.0
"""Bad input stops ``jobs/train.py`` before anything starts: a sentence, exit code 2, nothing written."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pytest

from cases import save
from flare_tools import MARK


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change(path, edit):
    save(path, edit(np.asanyarray(nibabel.load(path).dataobj)))


def file_of(data, suffix):
    case = data / "site-1" / f"{MARK}_1_0"
    return case / f"{case.name}_{suffix}.nii.gz"


DAMAGES = {
    "missing data folder": (shutil.rmtree, "There is no data folder"),
    "folder without cases": (
        lambda data: [shutil.rmtree(case) for case in (data / "site-1").glob(f"{MARK}*")],
        "holds no cases",
    ),
    "case without seg": (lambda data: file_of(data, "seg").unlink(), "has no segmentation"),
    "case without two modalities": (lambda data: [file_of(data, m).unlink() for m in ("t1", "t2")], "lacks t1 and t2"),
    "truncated file": (lambda data: truncate(file_of(data, "t1ce")), "cannot be read"),
    "different shapes": (lambda data: change(file_of(data, "t2"), lambda volume: volume[:-1]), "has shape"),
    "unknown label": (
        lambda data: change(file_of(data, "seg"), lambda v: np.where(v == 2, 7, v).astype(np.uint8)),
        "unknown labels",
    ),
}


@pytest.fixture
def data(hospitals, tmp_path):
    return shutil.copytree(hospitals, tmp_path / "data")


@pytest.fixture
def train(train_module, tmp_path, tiny_config, monkeypatch, capfd):
    """Runs ``jobs/train.py`` in ``tmp_path``; returns its exit code and its sentence."""

    def call(*words: str, config=tiny_config):
        monkeypatch.chdir(tmp_path)
        code = train_module.main(["--config", str(config), *map(str, words)])
        return code, capfd.readouterr().err

    return call


@pytest.mark.parametrize("damage", DAMAGES)
def test_bad_data_is_a_sentence_and_leaves_nothing(train, data, tmp_path, damage):
    spoil, words = DAMAGES[damage]
    spoil(data)
    code, sentence = train("--data", data)
    assert code == 2
    assert sentence.startswith("error: ") and words in sentence
    assert "Traceback" not in sentence
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [({"federation": {"roundz": 1}}, "unknown key 'federation.roundz'"), ({"seed": "one"}, "'seed' is 'one'")],
)
def test_a_wrong_config_names_the_field(train, data, tmp_path, tiny_config, content, words):
    config = tmp_path / "wrong.json"
    config.write_text(json.dumps({**json.loads(tiny_config.read_text()), **content}))
    code, sentence = train("--data", data, config=config)
    assert (code, words in sentence) == (2, True)
    assert not (tmp_path / "runs").exists()


def test_a_workspace_with_a_space_is_refused(train, data, tmp_path):
    code, sentence = train("--data", data, "--runs", tmp_path / "my runs")
    assert (code, "contains a space" in sentence) == (2, True)
    assert not (tmp_path / "my runs").exists()


@pytest.mark.parametrize("name", ["../up", "a b", "", "é"])
def test_a_name_that_is_no_name_is_refused(train, data, tmp_path, name):
    code, sentence = train("--data", data, f"--name={name}")
    assert (code, "must consist of letters" in sentence) == (2, True)
    assert not (tmp_path / "runs").exists()


def test_a_replaced_run_survives_bad_input(train, data, tmp_path):
    old = tmp_path / "runs" / "tiny" / "report.html"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    truncate(file_of(data, "t1"))
    assert train("--data", data, "--replace")[0] == 2
    assert old.read_text() == "old"
