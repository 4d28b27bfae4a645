# SPDX-License-Identifier: Apache-2.0
from collections import defaultdict

import pytest

from brats2020 import HEADER, SOURCES, case_id, known_cases, write_name_mapping
from fedpac_me.data.institutions import PHYSICAL_SITES, Subject, institution_of, physical_site, read_name_mapping
from fedpac_me.errors import InputError


def test_all_369_cases_have_the_known_institution_and_grade(tmp_path):
    subjects = read_name_mapping(write_name_mapping(tmp_path))
    answers = {case_id(n): Subject(grade, name) for name, grade, one, last in SOURCES for n in range(one, last + 1)}
    assert len(answers) == 369
    assert subjects == answers


def test_fets_which_was_told_by_the_hospitals_agrees(tmp_path):
    """Every partition of FeTS 2021 lies within one institution, and only 2013 was several hospitals."""
    subjects = read_name_mapping(write_name_mapping(tmp_path))
    institutions, partitions = defaultdict(set), defaultdict(set)
    for case in known_cases():
        if case["fets2021_partition"]:
            name = subjects[case["brats2020_id"]].institution
            institutions[case["fets2021_partition"]].add(name)
            partitions[name].add(case["fets2021_partition"])
    assert {len(names) for names in institutions.values()} == {1}
    assert len(institutions) == 17
    assert [name for name, found in partitions.items() if len(found) > 1] == ["2013"]


def test_one_hospital_under_several_names_is_one():
    assert physical_site("TCIA02") == physical_site("TCIA10") == "TCIA02-TCIA10"
    assert physical_site("TCIA13") == "TCIA06-TCIA12-TCIA13"
    assert physical_site("CBICA") == "CBICA"
    names = [name for parts in PHYSICAL_SITES for name in parts]
    assert len(set(names)) == len(names) and set(names) <= {source for source, *_ in SOURCES}


@pytest.mark.parametrize("nothing", ["", "NA", " na ", "nan"])
def test_a_case_without_an_older_id_is_new(nothing):
    assert institution_of(nothing) == "NEW2020"


@pytest.mark.parametrize(
    "odd", ["BraTS19", "BraTS19_TCIA02", "Brats18_TCIA02_606_1", "TCIA02_606_1", "BraTS19_../x_1_1"]
)
def test_an_id_of_another_form_is_refused(odd):
    with pytest.raises(InputError, match="is no BraTS2019 id"):
        institution_of(odd)


def rows(tmp_path, *lines, header=HEADER):
    path = tmp_path / "mapping.csv"
    path.write_bytes("\r\n".join([header, *lines]).encode("utf-8-sig"))
    return path


def test_columns_in_any_order_and_a_byte_order_mark_and_dropped_cases(tmp_path):
    header = "BraTS_2020_subject_ID, Grade ,BraTS_2019_subject_ID"
    path = rows(tmp_path, "A_1, lgg ,BraTS19_TMC_1_1", "NA,HGG,BraTS19_TMC_2_1", "", "A_2,,", header=header)
    assert read_name_mapping(path) == {"A_1": Subject("LGG", "TMC"), "A_2": Subject("", "NEW2020")}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["HGG,,,,BraTS19_TMC_1_1,A", "HGG,,,,BraTS19_TMC_2_1,A"], "names A more than once"),
        (["4,,,,BraTS19_TMC_1_1,A"], "gives A the grade '4'"),
        (["HGG,,,,TMC,A"], "no BraTS2019 id"),
    ],
)
def test_a_wrong_mapping_is_refused(tmp_path, lines, words):
    with pytest.raises(InputError, match=words):
        read_name_mapping(rows(tmp_path, *lines))


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(InputError, match="no column Grade and no BraTS_2019_subject_ID"):
        read_name_mapping(rows(tmp_path, header="BraTS_2020_subject_ID,Age"))
    with pytest.raises(InputError, match="cannot be read as a CSV file"):
        read_name_mapping(tmp_path / "none.csv")
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(InputError, match="cannot be read as a CSV file"):
        read_name_mapping(tmp_path / "picture.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputError, match="has no column"):
        read_name_mapping(tmp_path / "empty.csv")
