# SPDX-License-Identifier: Apache-2.0
"""Label files of anyone against references: how they are matched, what is refused, what the command prints."""

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from cases import LPS, save, write_case
from fedpac_me.cli import main
from fedpac_me.errors import InputError
from fedpac_me.evaluation.evaluate_files import evaluate_files, label_files, means_table, pair_files
from fedpac_me.evaluation.metrics import METRICS, case_metrics
from fedpac_me.evaluation.summary import FIGURES, LABEL_FIGURES


def labels(enhancing: int = 4, shift: int = 0) -> np.ndarray:
    """A tumour of 6³ voxels with an enhancing middle."""
    volume = np.zeros((16, 14, 12), np.uint8)
    volume[4 + shift : 10 + shift, 4:10, 3:9] = 2
    volume[6 + shift : 8 + shift, 6:8, 5:7] = enhancing
    return volume


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Two cases: ``a`` predicted exactly, ``b`` off by a voxel."""
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    for case, shift in (("a", 0), ("b", 1)):
        save(predictions / f"{case}.nii.gz", labels(shift=shift))
        save(references / f"{case}_seg.nii.gz", labels())
    return predictions, references


def test_figures_are_those_of_case_metrics(folders):
    result = evaluate_files(*folders)
    assert result["cases"] == 2
    assert [row["case"] for row in result["rows"]] == ["a", "b"]
    assert result["rows"][1] == {"case": "b", **case_metrics(labels(shift=1), labels())}
    assert result["dice"]["WT"] == pytest.approx((1 + 5 / 6) / 2)
    assert set(FIGURES) & set(result) == set(LABEL_FIGURES)
    assert result["notes"] == []


@pytest.mark.parametrize("name", ["{}.nii.gz", "{}.nii", "{}_seg.nii.gz", "{}-seg.nii.gz", "{}-seg.nii"])
def test_names_that_are_matched(tmp_path, name):
    case = "BraTS-GLI-00000-000"
    save(tmp_path / "pred" / f"{case}.nii.gz", labels())
    save(tmp_path / "ref" / name.format(case), labels())
    assert evaluate_files(tmp_path / "pred", tmp_path / "ref")["rows"][0]["case"] == case


def test_references_may_lie_in_a_data_set_beside_its_images(tmp_path):
    write_case(tmp_path / "data", "Case_1")
    write_case(tmp_path / "data", "BraTS20_Training_355")
    odd = tmp_path / "data" / "BraTS20_Training_355"
    (odd / "BraTS20_Training_355_seg.nii.gz").rename(odd / "W39_1998.09.19_Segm.nii.gz")
    expected = {"BraTS20_Training_355": "W39_1998.09.19_Segm.nii.gz", "Case_1": "Case_1_seg.nii.gz"}
    assert {case: path.name for case, path in label_files(tmp_path / "data").items()} == expected
    assert list(label_files(tmp_path / "data" / "Case_1")) == ["Case_1"]


def test_two_files_are_a_pair_whatever_their_names(folders):
    predictions, references = folders
    result = evaluate_files(predictions / "b.nii.gz", references / "a_seg.nii.gz")
    assert [row["case"] for row in result["rows"]] == ["b"]


def test_a_file_is_looked_up_in_a_folder(folders):
    predictions, references = folders
    assert pair_files(predictions / "b.nii.gz", references) == (
        {"b": (predictions / "b.nii.gz", references / "b_seg.nii.gz")},
        [],
    )


def test_enhancing_tumour_is_3_or_4_by_folder(tmp_path):
    for case in "ab":
        save(tmp_path / "pred" / f"{case}.nii.gz", labels(3).astype(np.float32))
        save(tmp_path / "ref" / f"{case}.nii.gz", labels(4 if case == "b" else 2))
    rows = evaluate_files(tmp_path / "pred", tmp_path / "ref")["rows"]
    assert [row["predicted_voxels_ET"] for row in rows] == [8, 8]
    assert [row["truth_voxels_ET"] for row in rows] == [0, 8]
    assert rows[1]["dice_ET"] == 1.0


def test_a_folder_that_mixes_3_and_4_is_refused(tmp_path):
    for case, enhancing in (("a", 3), ("b", 4)):
        save(tmp_path / "pred" / f"{case}.nii.gz", labels(enhancing))
        save(tmp_path / "ref" / f"{case}.nii.gz", labels())
    with pytest.raises(InputError, match=r"Case b \(prediction\) has unknown labels in its segmentation: 4"):
        evaluate_files(tmp_path / "pred", tmp_path / "ref")


def test_files_of_other_orientation_are_turned(tmp_path):
    save(tmp_path / "pred.nii.gz", labels()[::-1], LPS @ np.diag([-1.0, 1, 1, 1]) + np.eye(4, k=3) * -15)
    save(tmp_path / "ref.nii.gz", labels())
    assert evaluate_files(tmp_path / "pred.nii.gz", tmp_path / "ref.nii.gz")["dice"]["mean"] == 1.0


def test_distances_are_in_millimetres_of_the_file(tmp_path):
    spaced = LPS @ np.diag([2.0, 1, 1, 1])
    save(tmp_path / "pred.nii.gz", labels(shift=1), spaced)
    save(tmp_path / "ref.nii.gz", labels(), spaced)
    row = evaluate_files(tmp_path / "pred.nii.gz", tmp_path / "ref.nii.gz")["rows"][0]
    assert row == {"case": "pred", **case_metrics(labels(shift=1), labels(), (2.0, 1.0, 1.0))}
    assert row["hd95_WT"] == 2.0


@pytest.mark.parametrize(
    ("volume", "affine", "sentence"),
    [
        (labels()[:10], LPS, r"prediction has shape \(10, 14, 12\), the reference \(16, 14, 12\)"),
        (labels(), LPS @ np.diag([1, 1, 1.5, 1]), "different affines"),
        (labels(7), LPS, "unknown labels in its segmentation: 7"),
        (labels() + np.float32(0.5), LPS, r"0\.5"),
    ],
)
def test_what_does_not_lie_on_the_reference_or_is_no_label_is_refused(folders, volume, affine, sentence):
    predictions, references = folders
    save(predictions / "b.nii.gz", volume, affine)
    with pytest.raises(InputError, match=sentence):
        evaluate_files(predictions, references)


def test_files_without_a_counterpart_are_named(folders):
    predictions, references = folders
    save(predictions / "lost.nii.gz", labels())
    for number in range(7):
        save(references / f"c{number}_seg.nii.gz", labels())
    result = evaluate_files(predictions, references)
    assert result["cases"] == 2
    assert result["notes"] == [
        "1 prediction has no reference and is left out of the means: lost.",
        "7 references have no prediction and are left out of the means: c0, c1, c2, c3, c4 and 2 more.",
    ]
    assert means_table(result).splitlines()[-2:] == result["notes"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda place: None, "no file or folder"),
        (lambda place: place.mkdir(), "holds no label file"),
        (lambda place: save(place / "other.nii.gz", labels()), "No prediction .* Predictions: other; references: a, b"),
        (lambda place: [save(place / name, labels()) for name in ("a.nii", "a.nii.gz")], "Case a has two label files"),
        (lambda place: place.write_text("x"), "not NIfTI by its name"),
    ],
)
def test_places_without_a_pair_are_refused(folders, tmp_path, make, sentence):
    place = tmp_path / "place"
    make(place)
    with pytest.raises(InputError, match=sentence):
        evaluate_files(place, folders[1])


def run(*words) -> int:
    return main(["evaluate", *(str(word) for word in words)])


def test_the_command_prints_means_and_their_definitions(folders, capsys):
    assert run("--pred", folders[0], "--ref", folders[1]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["2", "cases", "TC", "WT", "ET", "mean"]
    assert lines[1].split() == ["Dice", "0.750", "0.917", "0.750", "0.806"]
    assert [line[:20].strip() for line in lines[2:6]] == [
        "Dice, cases with the",
        "HD95 (mm)",
        "Lesion-wise Dice",
        "Dice of predicting n",
    ]
    assert lines[5].split()[-4:] == ["0.000"] * 4
    assert all(word in out for word in ("BraTS 2020", "BraTS 2023", "MONAI"))
    assert err.splitlines() == ["1 of 2: a", "2 of 2: b"]


def test_the_command_writes_json_and_a_csv_but_over_nothing(folders, tmp_path, capsys):
    out = tmp_path / "scores.csv"
    assert run("--pred", folders[0], "--ref", folders[1], "--json", "--csv", out) == 0
    result = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    with open(out, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["case", *METRICS]
    assert [float(row["dice_WT"]) for row in rows] == [row["dice_WT"] for row in result["rows"]]
    assert run("--pred", folders[0], "--ref", folders[1], "--csv", out) == 2
    assert "nothing is overwritten" in capsys.readouterr().err


def test_the_command_refuses_in_a_sentence(folders, tmp_path, capsys):
    assert run("--pred", tmp_path / "missing", "--ref", folders[1]) == 2
    assert capsys.readouterr().err.startswith("error: There is no file or folder")


def test_a_truncated_file_is_refused(folders):
    predictions, references = folders
    path = predictions / "b.nii.gz"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match="cannot be read"):
        evaluate_files(predictions, references)


def test_a_trailing_axis_is_dropped(folders):
    predictions, references = folders
    nibabel.save(nibabel.Nifti1Image(labels()[..., None], LPS), predictions / "a.nii.gz")
    assert evaluate_files(predictions, references)["rows"][0]["dice_WT"] == 1.0
