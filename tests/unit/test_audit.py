# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest

from cases import save, write_case
from fedpac_me.data.audit import audit_split, audit_table, measure
from fedpac_me.data.federation_split import FederationSplit, SiteCases
from fedpac_me.data.layouts import find_cases
from fedpac_me.data.style import STYLE
from fedpac_me.errors import InputError
from fedpac_me.labels import MODALITIES


@pytest.fixture
def cases(tmp_path):
    """Six cases; those from C_3 on were scanned with twice the gain."""
    for number in range(6):
        folder = write_case(tmp_path, f"C_{number}", edge=24, seed=number)
        if number >= 3:
            for modality in MODALITIES:
                path = folder / f"C_{number}_{modality}.nii.gz"
                image = nibabel.load(path)
                save(path, 2 * np.asanyarray(image.dataobj), image.affine)
    return {case.id: case for case in find_cases([tmp_path])}


SITES = {
    "dim": SiteCases(train=("C_0",), validation=("C_1",), test=("C_2",)),
    "bright": SiteCases(role="evaluate", test=("C_3", "C_4", "C_5")),
}
GRADES = {f"C_{number}": "HGG" if number < 4 else "LGG" for number in range(6)}


def audit(cases, sites=SITES, grades=GRADES, **options):
    split = FederationSplit(data="data", sites=sites, how={"by": "grade"})
    return audit_split(split, cases, grades, progress=lambda line: None, **options)


def test_volumes_are_in_millilitres_of_the_files_own_voxels(tmp_path):
    folder = write_case(tmp_path, "C", edge=24)
    spacing = np.diag([-2.0, -1.0, 5.0, 1.0])
    for path in folder.iterdir():
        save(path, np.asanyarray(nibabel.load(path).dataobj), spacing)
    (case,) = find_cases([tmp_path])
    # An 8³ cube of oedema around 4³ voxels of enhancing tumour, with one necrotic voxel in the middle.
    assert measure(case).volumes_ml.tolist() == pytest.approx([0.64, 5.12, 0.63])


def test_every_site_says_how_many_of_what(cases):
    found = audit(cases)
    assert found["how"] == {"by": "grade"}
    dim, bright = found["sites"]["dim"], found["sites"]["bright"]
    assert (dim["role"], dim["cases"], dim["parts"]) == ("train", 3, {"train": 1, "validation": 1, "test": 1})
    assert (bright["role"], bright["parts"]["test"]) == ("evaluate", 3)
    assert (dim["grades"], bright["grades"]) == ({"HGG": 3}, {"HGG": 1, "LGG": 2})
    assert bright["grades_of_parts"] == {"train": {}, "validation": {}, "test": {"HGG": 1, "LGG": 2}}
    assert dim["volumes_ml"]["WT"] == {"median": 0.512, "smallest": 0.512, "largest": 0.512}


def test_the_gain_shows_in_the_raw_intensities_and_not_in_the_style(cases):
    sites = audit(cases)["sites"]
    for modality in MODALITIES:
        one, other = (sites[name]["median_intensity"][modality] for name in ("dim", "bright"))
        assert other == pytest.approx(2 * one, rel=0.02)
        one, other = (sites[name]["style"][f"{modality}_p50"] for name in ("dim", "bright"))
        assert one == pytest.approx(other, abs=0.05)
    assert set(sites["dim"]["style"]) == {name for name in STYLE if not name.endswith("present")}


def test_what_no_case_of_a_site_has_is_nothing(tmp_path):
    write_case(tmp_path, "C_0", edge=24, missing=("t1",))
    write_case(tmp_path, "C_1", edge=24)
    cases = {case.id: case for case in find_cases([tmp_path])}
    sites = {"a": SiteCases(train=("C_0",)), "b": SiteCases(train=("C_1",))}
    found = audit(cases, sites, {"C_0": "", "C_1": ""})
    assert found["sites"]["a"]["median_intensity"]["t1"] is None
    assert found["sites"]["a"]["style"]["t1_p50"] is None
    assert found["sites"]["b"]["median_intensity"]["t1"] is not None
    json.dumps(found, allow_nan=False)
    assert " - " in audit_table(found)
    assert "nothing can be said about site and grade" in audit_table(found)


def test_site_and_grade(cases):
    relation = audit(cases, images=False)["site_and_grade"]
    assert (relation["cases"], relation["grades"]) == (6, ["HGG", "LGG"])
    shared = 0.9182958 - 0.5 * 0.9182958  # H(grade) - H(grade | site), in bits: 4 to 2, and 1 to 2 in half the cases
    assert relation["normalised_mutual_information"] == pytest.approx(shared / ((1 + 0.9182958) / 2))
    assert relation["of_the_grade"] == pytest.approx(0.5)
    assert 0 < relation["by_chance"] < relation["normalised_mutual_information"]


def test_many_sites_of_one_grade_each_settle_it(cases):
    sites = {f"s{number}": SiteCases(train=(f"C_{number}",)) for number in range(6)}
    relation = audit(cases, sites, images=False)["site_and_grade"]
    assert relation["of_the_grade"] == pytest.approx(1)
    assert relation["normalised_mutual_information"] < 0.6


def test_cases_without_a_grade_are_counted_and_left_out_of_the_relation(cases):
    found = audit(cases, grades={**GRADES, "C_0": "", "C_4": "", "C_5": ""}, images=False)
    assert found["sites"]["dim"]["grades"] == {"": 1, "HGG": 2}
    assert found["site_and_grade"]["cases"] == 3
    lines = audit_table(found).splitlines()
    assert lines[0].endswith("HGG  no grade")
    assert "Every case with a known grade is HGG" in lines[-1]


def test_the_table_has_no_ids_and_says_what_it_says(cases):
    found = audit(cases)
    table = audit_table(found)
    assert "C_" not in table and "C_" not in json.dumps(found)
    header, dim, bright, *_, last = table.splitlines()
    assert header.split()[:8] == ["site", "role", "cases", "train", "valid", "test", "HGG", "LGG"]
    assert dim.split()[:11] == ["dim", "train", "3", "1", "1", "1", "3", "0", "0.1", "0.5", "0.1"]
    assert bright.split()[:8] == ["bright", "evaluate", "3", "0", "0", "3", "1", "2"]
    assert "over 6 cases; the site settles 50% of the grade." in last


def test_without_images_none_is_read(cases):
    gone = {id_: replace(case, seg=None, images={}) for id_, case in cases.items()}
    found = audit(gone, images=False)
    assert set(found["sites"]["dim"]) == {"role", "cases", "parts", "grades", "grades_of_parts"}
    assert "mL" not in audit_table(found)


def test_an_unusable_case_stops_it_by_name(cases):
    next(iter(cases["C_2"].images.values())).write_bytes(b"not a scan")
    with pytest.raises(InputError, match="C_2"):
        audit(cases)
