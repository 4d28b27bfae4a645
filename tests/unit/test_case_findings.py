# SPDX-License-Identifier: Apache-2.0
"""What is wrong with one case, a file made for every finding."""

import gzip

import nibabel
import numpy as np
import pytest

from broken_files import (
    ALL,
    RAS,
    announce_more,
    codes,
    copy,
    edit,
    file,
    flip_a_bit_of_the_checksum,
    no_affine,
    noise,
    put,
    remove,
    shoulders,
    write_bytes,
)
from cases import LPS, save, write_case
from fedpac_me.data import case_findings
from fedpac_me.data.case_findings import inspect_case
from fedpac_me.data.layouts import find_case

# whole sites and processes
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shape_of_the_tests_is_usual")]


CORNER = np.s_[0, 0, 0]
MIDDLE = np.s_[12, 12, 12]
BROKEN = [
    ("truncated", write_bytes("t2", lambda content: content[: len(content) // 2]), "error unreadable-file"),
    ("damaged", write_bytes("t2", flip_a_bit_of_the_checksum), "error unreadable-file"),
    ("announces more", write_bytes("t2", announce_more), "error unreadable-file"),
    ("text", write_bytes("t2", lambda content: b"not nifti"), "error unreadable-file"),
    ("nothing", write_bytes("seg", lambda content: b""), "error unreadable-file"),
    ("gzip of text", write_bytes("t2", lambda content: gzip.compress(b"not nifti")), "error unreadable-file"),
    ("not gzip", write_bytes("t2", gzip.decompress), "error unreadable-file"),
    ("one modality less", remove("flair"), "warning missing-modality"),
    ("two modalities less", remove("t1", "flair"), "error missing-modalities"),
    ("no segmentation", remove("seg"), "error missing-segmentation"),
    ("image cut", edit(lambda data: data[:-1], "t2"), "error shapes-differ"),
    ("mask cut", edit(lambda data: data[..., :-1], "seg"), "error shapes-differ"),
    ("shifted", edit(np.array, "t1ce", affine=LPS + np.outer([1, 0, 0, 0], [0, 0, 0, 1])), "error affines-differ"),
    ("mask shifted", edit(np.array, "seg", affine=LPS + np.outer([0, 0, 1, 0], [0, 0, 0, 9])), "error affines-differ"),
    ("no affine", no_affine, "error bad-affine"),
    ("four axes", edit(lambda data: np.stack([data, data], -1), "t1"), "error not-a-volume"),
    ("complex", edit(lambda data: data.astype(np.complex64), "t1"), "error not-numbers"),
    ("label 7", edit(put(7, MIDDLE), "seg"), "error unknown-labels"),
    ("label -1", edit(put(-1, MIDDLE, np.int16), "seg"), "error unknown-labels"),
    ("labels 3 and 4", edit(put(3, MIDDLE), "seg"), "error mixed-labels"),
    ("label 1.5", edit(put(1.5, MIDDLE, np.float32), "seg"), "error non-integer-labels"),
    ("NaN", edit(put(np.nan, MIDDLE, np.float32), "t1"), "error not-finite"),
    ("infinite", edit(put(np.inf, CORNER, np.float32), "t1"), "error not-finite"),
    ("NaN label", edit(put(np.nan, CORNER, np.float32), "seg"), "error not-finite, note float-labels"),
    ("zeros", edit(np.zeros_like, "t1"), "error empty-image"),
    ("constant", edit(np.ones_like, "t1"), "error constant-image"),
    ("constant inside", edit(lambda data: data.clip(0, 1), "t1"), "error constant-image"),
    ("constant and negative", edit(lambda data: -data.clip(0, 1), "t1"), "error constant-image"),
    ("copy of an image", copy("t1", "t1ce"), "error same-image-twice"),
    ("mask in the corner", edit(put(2, CORNER), "seg"), "warning mask-outside-brain"),
    ("mask elsewhere", edit(lambda data: np.roll(data, 12, (0, 1, 2)), "seg"), "error mask-outside-brain"),
    ("noise around", edit(noise, "t1"), "error not-skull-stripped"),
    ("shoulders", edit(shoulders, "t1"), "warning not-skull-stripped"),
    ("background 5", edit(lambda data: np.where(data > 0, data, 5), "t2"), "error background-not-zero"),
    ("background -3", edit(lambda data: data - 3, "t2"), "error negative-background"),
    ("a negative voxel", edit(put(-2, CORNER), "t2"), "note negative-values"),
    ("2 mm", edit(np.array, *ALL, affine=LPS @ np.diag([2, 2, 2, 1])), "note unusual-spacing"),
    ("RAS", edit(np.array, *ALL, affine=RAS), "note unusual-axes"),
    ("mask in float", edit(np.float32, "seg"), "note float-labels"),
    ("no tumour", edit(np.zeros_like, "seg"), "warning empty-segmentation"),
    ("one label", edit(lambda data: data.clip(0, 1), "seg"), "warning single-label"),
    (
        "tiny",
        edit(lambda data: data * (np.indices(data.shape)[2] == 12) * (np.indices(data.shape)[1] == 12), "seg"),
        "note tiny-tumour",
    ),
]


@pytest.mark.parametrize(("damage", "expected"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_what_is_broken_is_found_and_nothing_else(case, damage, expected):
    damage(case)
    assert [f"{severity} {code}" for severity, code in codes(case.parent)] == expected.split(", ")


def test_every_finding_says_which_file_and_what_to_do(case):
    remove("flair")(case)
    write_bytes("t2", lambda content: content[:100])(case)
    missing, unreadable = sorted(inspect_case(find_case(case), 1).findings, key=lambda finding: finding.code)
    assert missing.case == unreadable.case == case.name
    assert missing.sentence == ("flair is missing, which is allowed and handled. Add the file if there is one.")
    assert unreadable.sentence.startswith("t2 cannot be read: ")
    assert unreadable.sentence.endswith("copy it again.")
    assert case.name not in missing.sentence + unreadable.sentence


def test_a_misspelt_file_is_named_where_one_is_missing(case):
    file(case, "seg").rename(case / "segmentation.nii")
    (finding,) = inspect_case(find_case(case), 0).findings
    assert "holds segmentation.nii, of no known name" in finding.sentence


def test_how_many_modalities_may_be_missing_is_an_argument(tmp_path):
    folder = write_case(tmp_path, "C", missing=("t1", "t2"))
    assert codes(folder, max_missing=1) == [("error", "missing-modalities")]
    assert codes(folder, max_missing=2) == [("warning", "missing-modality")]


def test_another_shape_is_a_note(case, monkeypatch):
    monkeypatch.setattr(case_findings, "BRATS_SHAPE", (240, 240, 155))
    (finding,) = inspect_case(find_case(case), 0).findings
    assert (finding.severity, finding.code) == ("note", "unusual-shape")
    assert "24×24×24 voxels, BraTS' 240×240×155" in finding.sentence


def test_axes_that_differ_between_files_of_one_place_are_one_note(case):
    turned = nibabel.as_closest_canonical(nibabel.load(file(case, "seg")))
    save(file(case, "seg"), np.asanyarray(turned.dataobj), turned.affine)
    (finding,) = inspect_case(find_case(case), 0).findings
    assert finding.code == "unusual-axes"
    assert "t1 LPS, t1ce LPS, t2 LPS, flair LPS and seg RAS" in finding.sentence


def test_the_odd_file_is_blamed_and_not_the_others(case):
    edit(lambda data: data[1:], "t1")(case)
    (finding,) = inspect_case(find_case(case), 0).findings
    assert finding.sentence.startswith("t1 has shape 23×24×24, but t1ce, t2, flair and seg 24×24×24.")


def test_trailing_axes_and_uncompressed_files_are_fine(case):
    edit(lambda data: data[..., None], "t1")(case)
    nibabel.save(nibabel.load(file(case, "t2")), case / f"{case.name}_t2.nii")
    file(case, "t2").unlink()
    assert codes(case) == []


def test_a_mistake_hides_no_other(case):
    remove("flair")(case)
    write_bytes("t1", lambda content: b"")(case)
    edit(np.zeros_like, "t2")(case)
    edit(put(9, CORNER), "seg")(case)
    assert {code for _, code in codes(case)} == {
        "missing-modality",
        "unreadable-file",
        "empty-image",
        "unknown-labels",
        "mask-outside-brain",
    }
