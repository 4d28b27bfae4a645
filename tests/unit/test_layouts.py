# SPDX-License-Identifier: Apache-2.0
import nibabel
import numpy as np
import pytest

from cases import save, write_case
from fedpac_me.data.layouts import (
    FROM_2023,
    UP_TO_2022,
    find_case,
    find_cases,
    layout_sentence,
)
from fedpac_me.data.scan import load_scan
from fedpac_me.data.splits import split_cases
from fedpac_me.errors import InputError

NEW_NAMES = {"t1": "t1n", "t1ce": "t1c", "t2": "t2w", "flair": "t2f", "seg": "seg"}


def write_new_case(parent, case_id, labels=None):
    """A case named as from 2023 on, its enhancing tumour 3 unless ``labels`` maps it to another."""
    folder = write_case(parent, case_id, edge=16)
    for old, new in NEW_NAMES.items():
        (folder / f"{case_id}_{old}.nii.gz").rename(folder / f"{case_id}-{new}.nii.gz")
    relabel(folder, {4: 3} | (labels or {}))
    return folder


def write_old_case(parent, case_id, labels=None):
    folder = write_case(parent, case_id, edge=16)
    relabel(folder, labels or {})
    return folder


def relabel(folder, changes, dtype=np.uint8):
    (path,) = folder.glob("*seg.nii.gz")
    before = np.asanyarray(nibabel.load(path).dataobj)
    after = before.astype(dtype)
    for old, new in changes.items():
        after[before == old] = new
    save(path, after)


LOW_GRADE = {4: 1}


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("case_id", ["BraTS20_Training_001", "BraTS2021_00000", "FeTS2022_01341"])
def test_names_up_to_2022(tmp_path, case_id, ending):
    parts = ("t1", "t1ce", "t2", "flair", "seg")
    case = find_case(touch(tmp_path / case_id, *(f"{case_id}_{part}{ending}" for part in parts)))
    assert (case.id, case.layout, case.present) == (case_id, UP_TO_2022, (True,) * 4)
    assert case.images["t1ce"].name == f"{case_id}_t1ce{ending}"
    assert case.seg.name == f"{case_id}_seg{ending}"


def test_names_from_2023_on(tmp_path):
    case_id = "BraTS-GLI-00000-000"
    case = find_case(touch(tmp_path / case_id, *(f"{case_id}-{part}.nii.gz" for part in NEW_NAMES.values())))
    assert case.layout == FROM_2023
    stems = {modality: f"{case_id}-{NEW_NAMES[modality]}.nii.gz" for modality in ("t1", "t1ce", "t2", "flair")}
    assert {modality: path.name for modality, path in case.images.items()} == stems
    assert case.seg.name == f"{case_id}-seg.nii.gz"


def test_the_segmentation_of_case_355_has_another_name(tmp_path):
    case_id = "BraTS20_Training_355"
    folder = touch(tmp_path / case_id, f"{case_id}_t1.nii", "W39_1998.09.19_Segm.nii")
    assert find_case(folder).seg.name == "W39_1998.09.19_Segm.nii"
    touch(folder, f"{case_id}_seg.nii")
    assert find_case(folder).seg.name == f"{case_id}_seg.nii"
    assert find_case(touch(tmp_path / "Other", "Other_t1.nii", "W39_1998.09.19_Segm.nii")).seg is None


@pytest.mark.parametrize(("old", "new"), [("C_t1.nii", "C-t1n.nii.gz"), ("C_seg.nii.gz", "C-t2f.nii.gz")])
def test_files_of_two_layouts_in_one_case_are_refused_unless_one_is_named(tmp_path, old, new):
    folder = touch(tmp_path / "data" / "C", old, new)
    with pytest.raises(InputError) as error:
        find_cases([folder.parent])
    assert old in str(error.value) and new in str(error.value) and "two layouts" in str(error.value)
    assert find_case(folder, FROM_2023).images.keys() <= {"t1", "flair"}


def test_a_folder_may_mix_layouts_case_by_case(tmp_path):
    write_old_case(tmp_path, "BraTS2021_00000")
    for number in range(2):
        touch(tmp_path / f"BraTS-GLI-0000{number}-000", f"BraTS-GLI-0000{number}-000-t1n.nii.gz")
    cases = find_cases([tmp_path])
    assert [case.layout for case in cases] == [FROM_2023, FROM_2023, UP_TO_2022]
    assert [case.id for case in find_cases([tmp_path], UP_TO_2022)] == ["BraTS2021_00000"]
    sentence = layout_sentence(cases)
    assert "1 cases as in BraTS up to 2022" in sentence and "2 cases as in BraTS 2023 and later" in sentence
    assert layout_sentence(cases[2:]).startswith("Layout of BraTS up to 2022: <id>/<id>_t1, <id>_t1ce")


def test_a_folder_without_cases_says_what_was_expected(tmp_path):
    with pytest.raises(InputError, match=r"<id>_t1ce.*<id>-t1c"):
        find_cases([touch(tmp_path / "data" / "C", "notes.txt").parent])


def test_listing_cases_reads_no_volume(tmp_path):
    folder = touch(tmp_path / "C", "C_t1.nii.gz", "C_seg.nii.gz")  # both of them empty, and not NIfTI
    assert [case.id for case in find_cases([folder.parent])] == ["C"]


@pytest.mark.parametrize("write", [write_old_case, write_new_case])
def test_labels_in_memory_do_not_depend_on_the_layout(tmp_path, write):
    write(tmp_path / "a", "C")
    write_old_case(tmp_path / "b", "C")
    (one,), (other,) = find_cases([tmp_path / "a"]), find_cases([tmp_path / "b"])
    assert np.array_equal(load_scan(one, 0).labels, load_scan(other, 0).labels)
    assert set(np.unique(load_scan(one, 0).labels)) == {0, 1, 2, 4}


@pytest.mark.parametrize(("write", "enhancing"), [(write_old_case, 3), (write_new_case, 4)])
def test_the_segmentations_decide_against_the_names(tmp_path, write, enhancing):
    write(tmp_path, "A", {4: 1})
    write(tmp_path, "B", {4: enhancing})
    low_grade, high_grade = find_cases([tmp_path])
    assert low_grade.scheme == high_grade.scheme
    assert high_grade.scheme.enhancing == enhancing
    assert "case B" in high_grade.scheme.reason
    assert set(np.unique(load_scan(high_grade, 0).labels)) == {0, 1, 2, 4}


@pytest.mark.parametrize(("write", "enhancing"), [(write_old_case, 4), (write_new_case, 3)])
def test_the_names_decide_where_no_case_has_enhancing_tumour(tmp_path, write, enhancing):
    write(tmp_path, "A", LOW_GRADE)
    (case,) = find_cases([tmp_path])
    assert case.scheme.enhancing == enhancing
    assert set(np.unique(load_scan(case, 0).labels)) == {0, 1, 2}


def test_a_data_set_with_3_and_4_is_refused_by_a_case_of_each(tmp_path):
    for case_id, labels in {"A": LOW_GRADE, "B": {}, "C": {4: 3}}.items():
        write_old_case(tmp_path, case_id, labels)
    low_grade, first, second = find_cases([tmp_path])
    with pytest.raises(InputError, match=r"Case C has unknown labels.*: 3\..*case B .* has label 4.*cannot hold both"):
        load_scan(second, 0)
    assert load_scan(low_grade, 0).labels.any() and load_scan(first, 0).labels.any()


def test_a_case_with_3_and_4_is_refused_and_decides_nothing(tmp_path):
    write_new_case(tmp_path, "A", {1: 4})
    write_new_case(tmp_path, "B")
    both, good = find_cases([tmp_path])
    assert good.scheme.enhancing == 3
    with pytest.raises(InputError, match=r"Case A has unknown labels.*: 4\..*resection cavity"):
        load_scan(both, 0)


def test_an_unreadable_segmentation_decides_nothing(tmp_path):
    touch(write_old_case(tmp_path, "A"), "A_seg.nii.gz")
    write_old_case(tmp_path, "B", {4: 3})
    assert {case.scheme.enhancing for case in find_cases([tmp_path])} == {3}


def test_each_data_folder_has_its_own_scheme(tmp_path):
    write_old_case(tmp_path / "hospital-1", "A")
    write_new_case(tmp_path / "hospital-2", "B")
    cases = [
        case
        for part in split_cases([tmp_path / "hospital-1", tmp_path / "hospital-2"]).parts().values()
        for case in part
    ]
    assert {case.id: case.scheme.enhancing for case in cases} == {"A": 4, "B": 3}


def test_whole_numbers_may_come_as_floats_and_others_are_refused(tmp_path):
    folder = write_old_case(tmp_path, "A")
    before = load_scan(find_case(folder), 0).labels
    relabel(folder, {}, np.float32)
    after = load_scan(find_case(folder), 0).labels
    assert after.dtype == np.uint8 and np.array_equal(after, before)
    relabel(folder, {1: 1.5, 2: 7}, np.float32)
    with pytest.raises(InputError, match=r"Case A has unknown labels in its segmentation: 1\.5, 7\. Expected only"):
        load_scan(find_case(folder), 0)
    relabel(folder, {7: np.nan}, np.float32)
    with pytest.raises(InputError, match=r"unknown labels in its segmentation: .*nan"):
        load_scan(find_case(folder), 0)
