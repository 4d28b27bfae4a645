# SPDX-License-Identifier: Apache-2.0
"""Anyone's label files against references: pairs, labels, grids, means."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from fedpac_me.evaluation.evaluate_files import evaluate_files, label_files

from cases import LPS, save
from fedpac_me.cli import main
from fedpac_me.errors import InputError
from fedpac_me.evaluation.metrics import METRICS


def tumour(shift: int = 0, enhancing: int = 4) -> np.ndarray:
    """A cube of oedema with an enhancing core (DHW, 20³)."""
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[4 + shift : 14 + shift, 4:14, 4:14] = 2
    labels[7 + shift : 11 + shift, 7:11, 7:11] = enhancing
    return labels


@pytest.fixture
def folders(tmp_path):
    """Two cases: one predicted right, the other off by two voxels; the predictions write enhancing tumour as 3."""
    for number, shift in ((1, 0), (2, 2)):
        save(tmp_path / "pred" / f"case-{number}.nii.gz", tumour(shift, enhancing=3))
        save(tmp_path / "ref" / f"case-{number}_seg.nii.gz", tumour())
    return tmp_path / "pred", tmp_path / "ref"


def test_each_sides_own_label_for_enhancing_tumour_is_found(folders):
    result = evaluate_files(*folders)
    assert result["cases"] == 2 and result["notes"] == []
    right, shifted = result["rows"]
    assert [right[f"dice_{region}"] for region in ("TC", "WT", "ET")] == [1.0, 1.0, 1.0]
    assert shifted["dice_WT"] == pytest.approx(0.8) and shifted["dice_ET"] == pytest.approx(0.5)
    assert result["dice"]["WT"] == pytest.approx(0.9)


def test_two_files_are_a_pair_whatever_their_names(folders):
    pred, ref = folders
    result = evaluate_files(pred / "case-1.nii.gz", ref / "case-2_seg.nii.gz")
    assert (result["cases"], result["dice"]["mean"]) == (1, 1.0)


def test_the_order_of_a_files_axes_does_not_matter(folders, tmp_path):
    save(tmp_path / "ras.nii.gz", tumour(2)[::-1, ::-1], np.diag([1.0, 1.0, 1.0, 1.0]) + _shift(-19, -19))
    turned = evaluate_files(tmp_path / "ras.nii.gz", folders[1] / "case-1_seg.nii.gz")
    assert turned["dice"]["WT"] == pytest.approx(0.8)


def _shift(x: float, y: float) -> np.ndarray:
    made = np.zeros((4, 4))
    made[:2, 3] = x, y
    return made


def test_files_without_a_counterpart_are_named_and_left_out(folders):
    save(folders[0] / "case-9.nii.gz", tumour())
    (note,) = evaluate_files(*folders)["notes"]
    assert note.startswith("1 prediction has no reference") and "case-9" in note


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda pred: save(pred / "case-1.nii.gz", tumour()[:-1]), "has shape"),
        (lambda pred: save(pred / "case-1.nii.gz", tumour(), 2 * LPS), "different affines"),
        (lambda pred: save(pred / "case-1.nii.gz", tumour() + 5), "unknown labels"),
        (lambda pred: save(pred / "case-1.nii", tumour()), "two label files"),
    ],
)
def test_what_cannot_be_compared_is_a_sentence(folders, spoil, words):
    spoil(folders[0])
    with pytest.raises(InputError, match=words):
        evaluate_files(*folders)


def test_nothing_to_compare_is_a_sentence(folders, tmp_path):
    with pytest.raises(InputError, match="no file or folder"):
        evaluate_files(tmp_path / "none", folders[1])
    save(tmp_path / "other" / "x.nii.gz", tumour())
    with pytest.raises(InputError, match="No prediction"):
        evaluate_files(tmp_path / "other", folders[1])


def test_a_folder_of_cases_is_a_reference_too(case):
    assert list(label_files(case.parent)) == ["Case_001"]


def test_the_command_prints_means_or_json_and_writes_rows(folders, tmp_path, capsys):
    words = ["evaluate", "--pred", str(folders[0]), "--ref", str(folders[1])]
    assert main([*words, "--csv", str(tmp_path / "rows.csv")]) == 0
    printed = capsys.readouterr().out
    assert "2 cases" in printed and "Lesion-wise Dice" in printed and "Dice of predicting no tumour" in printed
    with open(tmp_path / "rows.csv", newline="") as file:
        assert [list(row) for row in csv.DictReader(file)] == [["case", *METRICS]] * 2
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cases"] == 2
    assert main([*words, "--csv", str(tmp_path / "rows.csv")]) == 2
