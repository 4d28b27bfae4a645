# SPDX-License-Identifier: Apache-2.0
import pytest

from cases import write_case
from fedpac_me.cli import main


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
