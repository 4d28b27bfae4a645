# SPDX-License-Identifier: Apache-2.0
import itertools

import nibabel
import numpy as np
import pytest
import torch
from nibabel.orientations import apply_orientation

from cases import LPS, save, write_case
from fedpac_me.config import parse_config
from fedpac_me.data.layouts import find_case, find_cases
from fedpac_me.data.scan import load_scan
from fedpac_me.errors import InputError
from fedpac_me.labels import MODALITIES
from fedpac_me.learning.predict import predict_case


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


def shift_affine(folder, suffix="t1ce", by_mm=0.5):
    path = folder / f"{folder.name}_{suffix}.nii.gz"
    shift = np.eye(4)
    shift[0, 3] = by_mm
    save(path, np.asanyarray(nibabel.load(path).dataobj), shift @ LPS)


def flatten_affine(folder):
    path = folder / f"{folder.name}_t1.nii.gz"
    file = nibabel.load(path)
    file.header["srow_z"] = 0
    nibabel.save(type(file)(np.asanyarray(file.dataobj), None, file.header), path)


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
        (lambda f: edit(f, "seg", lambda data: data[:, :-1]), "t1 has shape (24, 24, 24) but seg has (24, 23, 24)"),
        (lambda f: shift_affine(f, "seg"), "t1 and seg have different affines"),
        (lambda f: edit(f, "t2", lambda data: np.stack([data, data], -1)), "one volume, with three axes"),
        (lambda f: edit(f, "t2", lambda data: data[0]), "one volume, with three axes"),
        (flatten_affine, "does not say how its axes lie"),
        (lambda f: edit(f, "t2", lambda data: np.where(data == 0, -1024, data)), "background of t2 is -1024"),
        (lambda f: edit(f, "t2", lambda data: data - 50.5), "background of t2 is -50.5"),
        (lambda f: edit(f, "t2", lambda data: data + np.arange(1.0, data.size + 1).reshape(data.shape)), "background"),
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


def test_resampling_is_done_only_when_asked_for(tmp_path):
    folder = write_case(tmp_path, "C", edge=32)
    before = load_scan(find_case(folder), 0)
    for suffix in ("seg", "flair"):  # moved by two voxels, together with the origin: the same places
        edit(folder, suffix, lambda data: np.roll(data, 2, axis=0))
        shift_affine(folder, suffix, by_mm=2)
    with pytest.raises(InputError, match=r"t1 and flair have different affines.*data\.resample"):
        load_scan(find_case(folder), 0)
    after = load_scan(find_case(folder), 0, resample=True)
    assert np.array_equal(after.labels, before.labels) and np.allclose(after.image, before.image, atol=1e-5)

    edit(folder, "seg", lambda data: data[::2, ::2, ::2])  # 2 mm voxels, and so another shape
    path = folder / "C_seg.nii.gz"
    save(path, np.asanyarray(nibabel.load(path).dataobj), np.diag([-2.0, -2, 2, 1]))
    coarse = load_scan(find_case(folder), 0, resample=True).labels
    assert coarse.shape == before.labels.shape and set(np.unique(coarse)) <= {0, 1, 2, 4}
    one, other = coarse > 0, before.labels > 0
    assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.7


def test_files_in_different_places_are_refused_even_when_resampling(case):
    shift_affine(case, "seg", by_mm=1000)
    with pytest.raises(InputError, match="nothing of seg is left"):
        load_scan(find_case(case), 0, resample=True)


TURNS = [
    np.array(list(zip(axes, flips, strict=True)))
    for axes in itertools.permutations(range(3))
    for flips in itertools.product([1, -1], repeat=3)
]
"""All 48 ways in which three axes can lie, as nibabel writes them."""

CONFIG = parse_config({"method": "m", "title": "t", "data": {"crop": 16}})


class DirectionalModel(torch.nn.Module):
    """Stands for a network: what it says of a voxel depends on the voxels to the left of, behind and below it."""

    router = None

    def forward(self, image: torch.Tensor, present: torch.Tensor, routes: object = None) -> torch.Tensor:
        beside = image.roll(1, 2) + 2 * image.roll(2, 3) - image.roll(3, 4)
        return beside[:, :3] - image[:, 1:]


def write_tiny_case(parent, case_id="C", names=tuple(f"_{m}" for m in MODALITIES)):
    """Anisotropic, lopsided and small; faces are background."""
    rng = np.random.default_rng(0)
    brain = np.zeros((9, 10, 8), bool)
    brain[1:-1, 2:-1, 1:-2] = True
    affine = np.diag([-1.0, -1.5, 2.0, 1.0])
    affine[:3, 3] = 5, 7, -3
    for name in names:
        image = rng.integers(50, 200, brain.shape) * brain
        save(parent / case_id / f"{case_id}{name}.nii.gz", image.astype(np.int16), affine)
    labels = rng.choice([0, 1, 2, 4], brain.shape).astype(np.uint8) * brain
    save(parent / case_id / f"{case_id}_seg.nii.gz", labels.astype(np.uint8), affine)
    return parent / case_id


def predicted(folder, out, **options):
    returned = predict_case(DirectionalModel(), CONFIG, folder, out, torch.device("cpu"), **options)
    file = nibabel.load(out)
    assert np.array_equal(np.asanyarray(file.dataobj), returned)
    return file


def test_however_the_axes_lie_the_network_sees_one_orientation_and_answers_in_the_files(tmp_path):
    folder = write_tiny_case(tmp_path / "given")
    scan = load_scan(find_case(folder), 0)
    answer = predicted(folder, tmp_path / "given.nii.gz")
    assert set(np.unique(answer.dataobj)) == {0, 1, 2, 4}
    for number, turn in enumerate(TURNS):
        turned = tmp_path / f"turned-{number}" / "C"
        turned.mkdir(parents=True)
        for path in folder.iterdir():
            nibabel.save(nibabel.load(path).as_reoriented(turn), turned / path.name)
        again = load_scan(find_case(turned), 0)
        for name in ("image", "labels", "style", "affine"):
            assert np.array_equal(getattr(again, name), getattr(scan, name)), name
        made = predicted(turned, tmp_path / f"turned-{number}.nii.gz")
        given = nibabel.load(turned / "C_t1.nii.gz")
        assert np.array_equal(np.asanyarray(made.dataobj), apply_orientation(answer.dataobj, turn))
        assert made.shape == given.shape and np.array_equal(made.affine, given.affine)


def test_files_of_one_case_may_lie_differently_on_one_grid(tmp_path):
    folder = write_tiny_case(tmp_path)
    before = load_scan(find_case(folder), 0)
    for suffix, turn in (("t2", TURNS[17]), ("seg", TURNS[38])):
        path = folder / f"C_{suffix}.nii.gz"
        nibabel.save(nibabel.load(path).as_reoriented(turn), path)
    after = load_scan(find_case(folder), 0)
    assert np.array_equal(after.image, before.image) and np.array_equal(after.labels, before.labels)


def test_form_codes_may_differ_where_affines_are_equal(case):
    before = load_scan(find_case(case), 0)
    codes = itertools.cycle([(0, 1), (1, 0), (1, 2), (4, 1), (2, 2)])
    for path, (qform, sform) in zip(sorted(case.iterdir()), codes, strict=False):
        file = nibabel.load(path)
        image = nibabel.Nifti1Image(np.asanyarray(file.dataobj), file.affine)
        image.set_qform(file.affine if qform else None, qform)
        image.set_sform(file.affine if sform else None, sform)
        nibabel.save(image, path)
        assert nibabel.load(path).header["qform_code"] == qform
    after = load_scan(find_case(case), 0)
    assert np.array_equal(after.image, before.image) and np.array_equal(after.labels, before.labels)


def test_trailing_axes_of_length_1_are_dropped(case, tmp_path):
    before = load_scan(find_case(case), 0)
    edit(case, "t1", lambda data: data[..., None])
    edit(case, "seg", lambda data: data[..., None, None].astype(np.float32))
    after = load_scan(find_case(case), 0)
    assert np.array_equal(after.image, before.image) and np.array_equal(after.labels, before.labels)
    assert predicted(case, tmp_path / "p.nii.gz").shape == before.shape


def test_negative_values_inside_the_brain_are_kept(case):
    edit(case, "t2", lambda data: np.where(data > 0, data - 110.0, 0).astype(np.float32))
    scan = load_scan(find_case(case), 0)
    brain = scan.image[0] != 0
    assert abs(scan.image[2][brain].mean()) < 0.01 and scan.image[2].min() < -1


@pytest.mark.parametrize(
    ("names", "options", "enhancing"),
    [
        (("_t1", "_t1ce", "_t2", "_flair"), {}, 4),
        (("-t1n", "-t1c", "-t2w", "-t2f"), {}, 3),
        (("-t1n", "-t1c", "-t2w", "-t2f"), {"enhancing": 4}, 4),
        (("_t1", "_t1ce", "_t2", "_flair"), {"enhancing": 3}, 3),
    ],
)
def test_a_prediction_has_the_labels_of_its_cases_layout_or_those_asked_for(tmp_path, names, options, enhancing):
    folder = write_tiny_case(tmp_path, names=names)
    (folder / "C_seg.nii.gz").unlink()
    made = predicted(folder, tmp_path / "p.nii.gz", **options)
    assert set(np.unique(made.dataobj)) == {0, 1, 2, enhancing}
    with pytest.raises(InputError, match="cannot be label 5"):
        predicted(folder, tmp_path / "q.nii.gz", enhancing=5)
    assert not (tmp_path / "q.nii.gz").exists()
