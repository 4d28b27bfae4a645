# SPDX-License-Identifier: Apache-2.0
import nibabel
import numpy as np
import pytest

from cases import LPS, save, write_case
from fedpac_me.data.layouts import find_case, find_cases
from fedpac_me.data.scan import load_scan
from fedpac_me.errors import InputError
from fedpac_me.labels import MODALITIES


def edit(folder, suffix, change):
    """Rewrite one file of a case through ``change(data)``."""
    path = folder / f"{folder.name}_{suffix}.nii.gz"
    save(path, change(np.asanyarray(nibabel.load(path).dataobj)))


def test_a_scan_is_normalised_inside_the_brain_and_zero_outside(case):
    scan = load_scan(find_case(case), 0)
    brain = scan.image[0] != 0
    assert scan.image.dtype == np.float32
    for channel in scan.image:
        assert abs(channel[brain].mean()) < 1e-4
        assert abs(channel[brain].std() - 1) < 1e-3
        assert not channel[~brain].any()
    assert scan.present.tolist() == [True] * 4
    assert scan.spacing_mm == (1, 1, 1)


def test_the_box_is_tight_and_uncrop_puts_it_back(case):
    scan = load_scan(find_case(case), 0)
    stored = np.asanyarray(nibabel.load(case / f"{case.name}_seg.nii.gz").dataobj)
    brain = np.asanyarray(nibabel.load(case / f"{case.name}_t1.nii.gz").dataobj) > 0
    assert scan.image.shape[1:] < stored.shape
    assert np.array_equal(scan.uncrop(scan.labels), stored)
    assert np.array_equal(scan.uncrop((scan.image[0] != 0).astype(np.uint8)), brain)


def test_a_missing_modality_is_absent_not_present_zeros(tmp_path):
    scan = load_scan(find_case(write_case(tmp_path, "C", missing=("flair",))), 1)
    assert scan.present.tolist() == [True, True, True, False]
    assert not scan.image[MODALITIES.index("flair")].any()


def test_uncompressed_files_are_read_too(tmp_path):
    folder = write_case(tmp_path, "C")
    before = load_scan(find_case(folder), 0)
    for path in list(folder.iterdir()):
        nibabel.save(nibabel.load(path), path.with_suffix(""))
        path.unlink()
    assert np.array_equal(load_scan(find_case(folder), 0).image, before.image)


def truncate(folder):
    path = folder / f"{folder.name}_t2.nii.gz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def make_nan(folder):
    edit(
        folder,
        "t1",
        lambda data: np.where(np.arange(data.size).reshape(data.shape) == 7, np.nan, data).astype(np.float32),
    )


def shift_affine(folder):
    path = folder / f"{folder.name}_t1ce.nii.gz"
    save(path, np.asanyarray(nibabel.load(path).dataobj), LPS + np.eye(4) * [0.5, 0, 0, 0])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (truncate, "cannot be read"),
        (lambda f: (f / f"{f.name}_t2.nii.gz").write_bytes(b"not nifti"), "cannot be read"),
        (lambda f: (f / f"{f.name}_seg.nii.gz").unlink(), "no segmentation"),
        (lambda f: [(f / f"{f.name}_{m}.nii.gz").unlink() for m in ("t1", "flair")], "lacks t1 and flair"),
        (lambda f: edit(f, "t2", lambda data: data[:-1]), "has shape"),
        (lambda f: edit(f, "seg", lambda data: data[..., :-1]), "has shape"),
        (shift_affine, "different affines"),
        (
            lambda f: edit(f, "seg", lambda data: np.where(data == 2, 3, data).astype(np.uint8)),
            "unknown labels in its segmentation: 3",
        ),
        (make_nan, "NaN"),
        (lambda f: edit(f, "t1", np.zeros_like), "zero everywhere"),
    ],
)
def test_a_damaged_case_is_refused_with_its_reason(case, damage, words):
    damage(case)
    with pytest.raises(InputError) as error:
        load_scan(find_case(case), 1)
    assert words in str(error.value)


def test_an_unreadable_folder_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match="There is no data folder"):
        find_cases([tmp_path / "none"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no cases"):
        find_cases([tmp_path / "empty"])


def test_one_id_in_two_folders_is_refused(tmp_path):
    write_case(tmp_path / "a", "C")
    write_case(tmp_path / "b", "C")
    with pytest.raises(InputError, match="two of the site's data folders"):
        find_cases([tmp_path / "a", tmp_path / "b"])
