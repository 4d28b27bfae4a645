# SPDX-License-Identifier: Apache-2.0
import gzip
import json
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from cases import LPS, save, write_case
from fedpac_me.cli import main
from fedpac_me.data import case_findings
from fedpac_me.data.case_findings import inspect_case
from fedpac_me.data.check_data import check_data
from fedpac_me.data.findings import Finding, counts_sentence, findings_table
from fedpac_me.data.layouts import find_case
from fedpac_me.data.phantom import write_phantom
from fedpac_me.errors import InputError
from fedpac_me.labels import MODALITIES
from fedpac_me.storage import write_json

pytestmark = pytest.mark.slow  # whole sites, processes or pages

ALL = (*MODALITIES, "seg")
RAS = np.diag([1.0, 1.0, 1.0, 1.0])


@pytest.fixture(autouse=True)
def tests_own_shape(monkeypatch):
    """Cases of 24³ are as usual here as BraTS' own shape; holds for one worker."""
    monkeypatch.setattr(case_findings, "BRATS_SHAPE", (24, 24, 24))


def file(folder, part):
    return folder / f"{folder.name}_{part}.nii.gz"


def voxels(folder, part):
    return np.asanyarray(nibabel.load(file(folder, part)).dataobj)


def edit(change, *parts, affine=LPS):
    """A function that rewrites files of a case through ``change(data)``."""

    def damage(folder):
        for part in parts:
            save(file(folder, part), change(voxels(folder, part)), affine)

    return damage


def put(value, where, dtype=None):
    """A function that returns its array with ``value`` in the slice ``where``."""

    def change(data):
        data = np.array(data, dtype=dtype)
        data[where] = value
        return data

    return change


def remove(*parts):
    return lambda folder: [file(folder, part).unlink() for part in parts]


def write_bytes(part, change):
    return lambda folder: file(folder, part).write_bytes(change(file(folder, part).read_bytes()))


def flip_a_bit_of_the_checksum(content):
    return content[:-6] + bytes([content[-6] ^ 1]) + content[-5:]


def announce_more(content):
    header = bytearray(gzip.decompress(content))
    header[42:48] = np.array([30000] * 3, "<i2").tobytes()  # dim[1:4]
    return gzip.compress(bytes(header))


def copy(one, other):
    return lambda folder: shutil.copy(file(folder, one), file(folder, other))


def no_affine(folder):
    image = nibabel.load(file(folder, "t1"))
    for row in ("srow_x", "srow_y", "srow_z"):
        image.header[row] = 0
    content = image.header.binaryblock + bytes(4) + image.dataobj.get_unscaled().tobytes(order="F")
    file(folder, "t1").write_bytes(gzip.compress(content))


def noise(data):
    return np.where(data > 0, data, np.arange(data.size, dtype=data.dtype).reshape(data.shape) % 23 + 1)


def shoulders(data):
    return put(50, np.s_[2:22, 2:22, :3])(data)


def codes(folder, **options):
    return [(finding.severity, finding.code) for finding in check_data(folder, workers=1, **options).findings]


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


def test_a_clean_site_gives_no_findings(site_folder, capsys):
    folder = site_folder(cases=3)
    report = check_data(folder, workers=1)
    assert (report.cases, report.findings, report.has_errors) == (3, (), False)
    assert main(["check-data", str(folder), "--workers", "1"]) == 0
    output = capsys.readouterr()
    assert output.out.startswith("3 cases read in ")
    assert output.out.endswith(" s: no errors, no warnings, no notes.\n")
    assert "3 of 3 cases read" in output.err


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


def test_a_broken_case_hides_no_other(site_folder):
    folder = site_folder(cases=3)
    first, second, _ = sorted(folder.iterdir())
    write_bytes("t1", lambda content: content[:50])(first)
    edit(np.zeros_like, "seg")(second)
    found = [(finding.case, finding.code) for finding in check_data(folder, workers=1).findings]
    assert found == [(first.name, "unreadable-file"), (second.name, "empty-segmentation")]


def test_a_subject_under_two_names_is_found_whatever_its_file_looks_like(tmp_path):
    one, other = write_case(tmp_path / "a" / "site-1", "A"), write_case(tmp_path / "a" / "site-2", "B", seed=1)
    padded = np.pad(voxels(one, "t2")[::-1, ::-1], 3).astype(np.float32)
    save(file(other, "t2"), padded, RAS)
    findings = check_data(tmp_path / "a", workers=1).findings
    (finding,) = [finding for finding in findings if finding.code == "duplicated-subject"]
    assert (finding.severity, finding.case) == ("error", "site-2/B")
    assert finding.sentence.startswith("t2 holds the same voxels as in site-1/A.")


def test_whole_copies_are_one_finding_each(tmp_path):
    for name in "ABC":
        write_case(tmp_path, name)
    findings = check_data(tmp_path, workers=1).findings
    assert [(finding.case, finding.code) for finding in findings] == [
        ("B", "duplicated-subject"),
        ("C", "duplicated-subject"),
    ]
    assert findings[1].sentence.startswith("t1, t1ce, t2 and flair hold the same voxels as in A.")


def test_labels_3_and_4_in_one_folder_are_an_error_of_the_fewer(tmp_path):
    for number in range(3):
        write_case(tmp_path / "root" / "site-1", f"C{number}", seed=number)
    to_2023 = edit(lambda data: np.where(data == 4, 3, data).astype(np.uint8), "seg")
    to_2023(tmp_path / "root/site-1/C1")
    (finding,) = check_data(tmp_path / "root/site-1", workers=1).findings
    assert (finding.case, finding.code, finding.severity) == ("C1", "mixed-labels", "error")
    assert "Label 3, but 4 stands for enhancing tumour" in finding.sentence

    (tmp_path / "root/site-2").mkdir()
    (tmp_path / "root/site-1/C1").rename(tmp_path / "root/site-2/C1")
    assert codes(tmp_path / "root") == []  # each hospital may have its own


def test_folders_that_are_no_cases_are_named(case):
    (case.parent / "papers").mkdir()
    (case.parent / "renamed").mkdir()
    shutil.copy(file(case, "t1"), case.parent / "renamed/T1.nii.gz")
    shutil.copytree(case, case.parent / "both")
    for name in ("both_t1.nii.gz", "both-t1n.nii.gz"):
        shutil.copy(file(case, "t1"), case.parent / "both" / name)
    report = check_data(case.parent, workers=1)
    assert report.cases == 1
    assert {(finding.case, finding.code, finding.severity) for finding in report.findings} == {
        ("both", "two-layouts", "error"),
        (case.parent.name, "unusable-site", "error"),  # which is why: training stops at it
        ("renamed", "no-known-image", "error"),
        ("papers", "not-a-case", "note"),
    }


def test_a_site_that_cannot_be_used_hides_no_other(site_folder):
    root = site_folder("site-1", cases=2).parent
    for name, settings in {"site-2": {"data": "gone"}, "site-3": {"colour": "red"}}.items():
        write_json(root / name / "site.json", settings)
    (root / "site-4").mkdir()
    write_json(root / "site-1/splits.json", {"train": ["nobody"]})
    report = check_data(root, workers=1)
    assert report.cases == 2
    assert [(finding.case, finding.code) for finding in report.findings] == [
        (f"site-{number}", "unusable-site") for number in range(1, 5)
    ]


def test_sites_may_share_a_folder_but_no_case(site_folder, tmp_path):
    cases = site_folder(cases=3)
    ids = sorted(folder.name for folder in cases.iterdir())
    root = tmp_path / "root"
    for site, members in {"one": ids[:2], "two": ids[2:]}.items():
        write_json(root / site / "list.json", {"train": members})
        write_json(root / site / "site.json", {"data": str(cases), "splits": "list.json"})
    write_json(root / "pooled/site.json", {"data": str(cases), "role": "pooled"})
    report = check_data(root, workers=1)
    assert (report.cases, report.findings) == (3, ())

    write_json(root / "two/list.json", {"train": ids[1:]})
    (finding,) = check_data(root, workers=1).findings
    assert (finding.case, finding.code) == (f"one/{ids[1]}", "case-at-two-sites")


def die_of_the_second(case, max_missing, name):
    """Stands for ``inspect_case`` and takes its process down."""
    if case.id.endswith("001"):
        os._exit(1)
    return inspect_case(case, max_missing, name)


def fail_at_the_second(case, max_missing, name):
    if case.id.endswith("001"):
        raise RuntimeError("surprise")
    return inspect_case(case, max_missing, name)


@pytest.mark.parametrize(
    ("inspect", "workers", "words"),
    [
        (die_of_the_second, 2, "The process that read the case died"),
        (fail_at_the_second, 2, "RuntimeError: surprise"),
        (fail_at_the_second, 1, "RuntimeError: surprise"),
    ],
)
def test_a_crash_is_a_finding_of_its_case_alone(site_folder, inspect, workers, words):
    folder = site_folder(cases=5)
    edit(np.zeros_like, "seg")(sorted(folder.iterdir())[4])
    report = check_data(folder, workers=workers, inspect=inspect)
    serious = [finding for finding in report.findings if finding.severity != "note"]
    assert [(finding.case[-3:], finding.code) for finding in serious] == [
        ("001", "check-crashed"),
        ("004", "empty-segmentation"),
    ]
    assert words in serious[0].sentence
    assert report.cases == 5


def test_the_findings_do_not_depend_on_the_number_of_workers(site_folder, monkeypatch):
    monkeypatch.undo()  # processes know BraTS' own shape only
    folder = site_folder(cases=4)
    edit(np.zeros_like, "seg")(sorted(folder.iterdir())[2])
    assert check_data(folder, workers=2).findings == check_data(folder, workers=1).findings


def test_progress_is_told_now_and_then(site_folder):
    lines = []
    check_data(site_folder(cases=21), workers=1, progress=lines.append)
    assert lines[0] == "Reading 21 cases with 1 process ..."
    assert lines[-1] == "21 of 21 cases read."
    assert len(lines) == 11


def test_json_is_one_object_and_alone_on_stdout(case, capsys):
    write_case(case.parent, "Case_002", seed=1)
    write_bytes("t1", lambda content: b"")(case)
    assert main(["check-data", str(case.parent), "--json", "--workers", "1"]) == 1
    output = capsys.readouterr()
    content = json.loads(output.out)
    assert list(content) == ["cases", "seconds", "findings"]
    assert content["cases"] == 2
    (finding,) = content["findings"]
    assert (finding["severity"], finding["code"], finding["case"]) == ("error", "unreadable-file", "Case_001")
    assert "2 of 2 cases read." in output.err


@pytest.mark.parametrize(("damage", "code"), [(remove("flair"), 0), (remove("seg"), 1)])
def test_only_errors_make_the_command_fail(case, damage, code, capsys):
    damage(case)
    assert main(["check-data", str(case), "--workers", "1"]) == code
    assert "missing-" in capsys.readouterr().out


def test_bad_arguments_are_sentences(tmp_path, capsys):
    assert main(["check-data", str(tmp_path / "none")]) == 2
    assert "There is no data folder" in capsys.readouterr().err
    assert main(["check-data", str(tmp_path)]) == 2
    assert "holds no cases and no site folders" in capsys.readouterr().err
    with pytest.raises(InputError, match="--workers is 0; expected 1 or more"):
        check_data(tmp_path, workers=0)


def test_the_command_has_help_with_an_example(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["check-data", "--help"])
    assert stop.value.code == 0
    assert "Example: fedpac-me check-data" in capsys.readouterr().out


def test_equal_findings_are_one_entry_of_the_table():
    findings = [Finding("note", "unusual-shape", f"C{number}", "Another shape.") for number in range(369)]
    findings.append(Finding("error", "empty-image", "C7", "All zero."))
    assert findings_table(findings).splitlines() == [
        "severity  finding        cases  which",
        "error     empty-image        1  C7",
        "          All zero.",
        "note      unusual-shape    369  C0, C1, C2 and 366 more",
        "          Another shape.",
    ]
    assert counts_sentence(findings) == "1 error, no warnings, 369 notes"


def test_findings_that_differ_in_figures_do_not_fill_the_screen():
    findings = [Finding("warning", "tiny", f"C{number}", f"{number} mm³.") for number in range(9)]
    lines = findings_table(findings).splitlines()
    assert len(lines) == 1 + 2 * 4
    assert lines[-2:] == [
        "warning   tiny         6  C3, C4, C5 and 3 more",
        "          The same with other figures; --json has each sentence.",
    ]


@pytest.mark.slow
def test_the_phantom_has_no_errors(tmp_path):
    write_phantom(tmp_path / "phantom", size=32)
    report = check_data(tmp_path / "phantom")
    assert report.cases == 145
    assert {(finding.severity, finding.code) for finding in report.findings} == {
        ("warning", "missing-modality"),  # one hospital has no FLAIR
        ("note", "unusual-shape"),
    }


@pytest.mark.real_case
def test_the_real_case_is_clean(real_case: Path, monkeypatch):
    monkeypatch.undo()
    assert check_data(real_case).findings == ()
