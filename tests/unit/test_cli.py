# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from cases import write_case
from fedpac_me.cli import main
from fedpac_me.config import parse_config
from fedpac_me.learning import predict


@pytest.mark.parametrize(
    "command",
    [
        "phantom",
        "split",
        "check-data",
        "predict",
        "export",
        "evaluate",
        "significance",
        "report",
        "compare",
        "headline",
    ],
)
def test_every_command_has_help_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"Example: fedpac-me {command}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["phantom"], ["phantom", "--out", "x", "--size", "1x2"], ["dance"]])
def test_a_wrong_command_line_exits_with_2(words):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2


def refused(capsys, *words) -> str:
    assert main([str(word) for word in words]) == 2
    return capsys.readouterr().err


def test_a_phantom_is_not_written_over_something(tmp_path, capsys):
    (tmp_path / "keep").write_text("me")
    assert refused(capsys, "phantom", "--out", tmp_path).startswith("error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["keep"]


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys):
    case = write_case(tmp_path, "C")
    assert "run.json" in refused(capsys, "report", tmp_path)
    sentence = refused(capsys, "predict", "--run", tmp_path, "--case", case, "--out", tmp_path / "p.nii.gz")
    assert "not a finished run" in sentence
    assert not (tmp_path / "p.nii.gz").exists()


def test_a_prediction_may_keep_more_or_fewer_small_parts_than_the_run(tmp_path, capsys, monkeypatch):
    config, heard = parse_config({"method": "m", "title": "t", "evaluation": {"small_parts_mm3": 20}}), []
    monkeypatch.setattr(predict, "load_run_model", lambda *_: (None, config))
    monkeypatch.setattr(
        predict,
        "predict_case",
        lambda model, made, *_: heard.append(made.evaluation.small_parts_mm3) or np.zeros(1, np.uint8),
    )
    words = ["predict", "--run", "r", "--case", "c", "--out", str(tmp_path / "p.nii.gz")]
    for limit in ([], ["--small-parts", "0"], ["--small-parts", "80.5"]):
        assert main([*words, *limit]) == 0
    assert heard == [20, 0, 80.5]
    assert "--small-parts: 'evaluation.small_parts_mm3' is -1.0" in refused(capsys, *words, "--small-parts", "-1")
