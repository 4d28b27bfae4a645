# SPDX-License-Identifier: Apache-2.0
"""A whole data set: what only shows between cases, progress, the table, the command."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from broken_files import RAS, codes, edit, file, remove, voxels, write_bytes
from cases import save, write_case
from fedpac_me.cli import main
from fedpac_me.data.case_findings import inspect_case
from fedpac_me.data.check_data import check_data
from fedpac_me.data.findings import Finding, counts_sentence, findings_table
from fedpac_me.data.phantom import write_phantom
from fedpac_me.errors import InputError
from fedpac_me.storage import write_json

# whole sites and processes
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("shape_of_the_tests_is_usual")]


def test_a_clean_site_gives_no_findings(site_folder, capsys):
    folder = site_folder(cases=3)
    report = check_data(folder, workers=1)
    assert (report.cases, report.findings, report.has_errors) == (3, (), False)
    assert main(["check-data", str(folder), "--workers", "1"]) == 0
    output = capsys.readouterr()
    assert output.out.startswith("3 cases read in ")
    assert output.out.endswith(" s: no errors, no warnings, no notes.\n")
    assert "3 of 3 cases read" in output.err


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
    assert lines[0].startswith("Layout of BraTS up to 2022: ")
    assert lines[1] == "Reading 21 cases with 1 process ..."
    assert lines[-1] == "21 of 21 cases read."
    assert len(lines) == 12


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
