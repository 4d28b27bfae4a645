# SPDX-License-Identifier: Apache-2.0
"""The kinds of phantom: the demo stays what it was, the others contradict each other or share no scanner."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from fedpac_me.cli import main
from fedpac_me.config import load_config
from fedpac_me.data.check_data import check_data
from fedpac_me.data.phantom import read_phantom_settings
from fedpac_me.data.phantom.calibration import region_zscores
from fedpac_me.data.phantom.case import make_case
from fedpac_me.data.phantom.hospitals import CasePlan, Hospital, plan_cases
from fedpac_me.data.phantom.kinds import ALL_PROTOCOLS, KINDS
from fedpac_me.data.phantom.picture import draw_comparison
from fedpac_me.data.phantom.writer import phantom_facts
from fedpac_me.errors import InputError
from fedpac_me.labels import MODALITIES

DEMO_PLAN = "1f6c7be628fabddc51548a0da576f851d608806f45281905d3e8f7121f79eac8"
"""SHA-256 of who is scanned where by what, and of every scanner's settings."""
DEMO_MEANS = {
    45: {"t1": 42.2703, "t1ce": 195.6036, "t2": 114.3891, "flair": 198.1892},
    80: {"t1": 180.661, "t1ce": 8.3631, "t2": 200.0268},
    110: {"t1": 36.631, "t1ce": 98.7875, "t2": 28.8279, "flair": 15.9},
    128: {"t1": 125.2959, "t1ce": 49.1025, "t2": 118.7386, "flair": 67.6261},
    129: {"t1": 198.9276, "t1ce": 47.7133, "t2": 99.0535, "flair": 57.5533},
}
"""Mean raw intensity of whole volumes of 24³, a case of each protocol, by its place among all."""


def plans(kind: str, seed: int = 0) -> list[CasePlan]:
    return plan_cases(seed, KINDS[kind].hospitals)


def trains(kind: str) -> list[Hospital]:
    return [hospital for hospital in KINDS[kind].hospitals if hospital.role == "train"]


def test_the_demo_has_the_cases_and_scanners_that_published_figures_are_of():
    content = [[asdict(plan) for plan in plan_cases(0)], [asdict(one) for one in KINDS["demo"].protocols.values()]]
    assert hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest() == DEMO_PLAN


@pytest.mark.parametrize("number", DEMO_MEANS)
def test_a_scan_of_the_demo_is_as_bright_as_it_was(number: int):
    """Means, not bytes: another processor may round a voxel to its neighbour."""
    images = make_case(plan_cases(0)[number], (24, 24, 24), 0).images
    assert {name: float(image.mean()) for name, image in images.items()} == pytest.approx(DEMO_MEANS[number], rel=1e-4)


def test_every_kind_has_the_same_patients():
    demo = plans("demo")
    for kind in KINDS:
        for theirs, ours in zip(plans(kind), demo, strict=True):
            assert (theirs.id, theirs.part, theirs.grade, theirs.hospital.name) == (
                ours.id, ours.part, ours.grade, ours.hospital.name,
            )  # fmt: skip
        a_case = (make_case(every[50], (24, 24, 24), 0).labels for every in (plans(kind), demo))
        assert np.array_equal(*a_case)


def test_every_hospital_has_scanners_of_its_kind_and_no_name_means_two():
    for kind in KINDS.values():
        assert {name for hospital in kind.hospitals for name in hospital.protocols} == set(kind.protocols)
        assert all(ALL_PROTOCOLS[name] is protocol for name, protocol in kind.protocols.items())
        for hospital in kind.hospitals:
            assert sum(hospital.protocols.values()) == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_unseen_hospital_has_a_scanner_that_nobody_trained_on(kind: str):
    known = {name for hospital in trains(kind) for name in hospital.protocols}
    (unseen,) = (hospital for hospital in KINDS[kind].hospitals if hospital.role == "evaluate")
    assert len(set(unseen.protocols) - known) == 1 and not unseen.missing


def test_where_each_has_one_scanner_nobody_shares_it():
    owned = [list(hospital.protocols) for hospital in KINDS["one-scanner"].hospitals]
    assert all(len(names) == 1 for names in owned)
    assert len({names[0] for names in owned}) == len(owned) == 5


def test_three_hospitals_that_contradict_each_other_lack_a_modality_each():
    missing = [hospital.missing for hospital in trains("conflicting") if hospital.missing]
    assert len(missing) == 3 and len(set(missing)) == 3
    assert all(len(of_one) <= load_config("app_configs/base.json").data.max_missing_modalities for of_one in missing)


def test_what_is_bright_at_one_hospital_is_dark_at_another():
    """Enhancing tumour on T1ce, between hospitals; oedema on FLAIR, between the scanners of one kind."""
    enhancing: dict[str, set[bool]] = {}
    oedema: dict[str, set[bool]] = {}
    for plan in [plan for plan in plans("conflicting") if plan.grade == "HGG" and plan.part == "validation"]:
        case = make_case(plan, (32, 32, 32), 0)
        blank = np.zeros_like(case.labels)
        scores = region_zscores(np.stack([case.images.get(name, blank) for name in MODALITIES]), case.labels)
        assert abs(scores["ET"]["t1ce"]) > 0.5
        enhancing.setdefault(plan.hospital.name, set()).add(scores["ET"]["t1ce"] > 0)
        if "flair" in scores["ED"]:
            assert abs(scores["ED"]["flair"]) > 0.5
            oedema.setdefault(plan.protocol, set()).add(scores["ED"]["flair"] > 0)
    assert enhancing == {"site-1": {True}, "site-2": {False}, "site-3": {True}, "site-4": {False}}
    assert oedema == {"C0": {True}, "C1": {False}, "C2": {False}, "C3": {True}}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "demo"])
def test_a_written_kind_says_which_it_is_and_passes_the_checks(tmp_path: Path, kind: str, capsys):
    out = tmp_path / "phantom"
    assert main(["phantom", "--kind", kind, "--size", "24", "--seed", "2", "--out", str(out)]) == 0
    settings = read_phantom_settings(out)
    assert phantom_facts(settings) == {"kind": kind, "version": 1, "seed": 2, "size": [24, 24, 24]}
    assert list(settings["protocols"]) == list(KINDS[kind].protocols)
    for hospital in KINDS[kind].hospitals:
        assert set(settings["sites"][hospital.name]["protocol_cases"]) == set(hospital.protocols)
    report = check_data(out)
    assert report.cases == 145
    lacking = [finding for finding in report.findings if finding.severity == "warning"]
    assert {finding.code for finding in lacking} == {"missing-modality"}
    assert not report.has_errors


def test_a_picture_shows_the_protocols_of_its_kind(tmp_path: Path):
    settings = {"version": 1, "kind": "conflicting", "seed": 0, "size": [24] * 3, "sites": {}, "protocols": {"C0": ""}}
    (tmp_path / "phantom.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="no complete HGG case of protocol C0"):
        draw_comparison(tmp_path, None, tmp_path / "picture.png")


def test_a_phantom_that_names_no_kind_is_the_demo():
    assert phantom_facts({"version": 1, "seed": 0, "size": [24] * 3})["kind"] == "demo"


def test_an_unknown_kind_is_a_sentence_and_the_help_names_every_kind(tmp_path: Path, capsys):
    assert main(["phantom", "--kind", "hard", "--out", str(tmp_path / "phantom")]) == 2
    assert "no phantom of the kind hard. Expected one of demo, conflicting, one-scanner." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SystemExit):
        main(["phantom", "--help"])
    words = capsys.readouterr().out
    assert all(kind in words for kind in KINDS)
