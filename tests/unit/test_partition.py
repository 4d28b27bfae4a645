# SPDX-License-Identifier: Apache-2.0
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brats2020 import SOURCES, case_id, known_cases, write_name_mapping
from fedpac_me.data.institutions import Subject, read_name_mapping
from fedpac_me.data.partition import by_fets, by_grade, by_institution, dirichlet, iid, merge_small, patient_of
from fedpac_me.errors import InputError

GRADES = {case_id(n): grade for _, grade, one, last in SOURCES for n in range(one, last + 1)}


def members(sites):
    return sorted(id_ for ids in sites.values() for id_ in ids)


def test_by_institution_gives_the_sizes_of_brats2020(tmp_path):
    subjects = read_name_mapping(write_name_mapping(tmp_path))
    sizes = {name: len(ids) for name, ids in by_institution(GRADES, subjects).items()}
    assert sizes == {
        "2013": 30, "CBICA": 129, "NEW2020": 34, "TCIA01": 22, "TCIA02": 34, "TCIA03": 12, "TCIA04": 8, "TCIA05": 4,
        "TCIA06": 8, "TCIA08": 14, "TCIA09": 11, "TCIA10": 35, "TCIA12": 6, "TCIA13": 13, "TMC": 9,
    }  # fmt: skip
    merged = by_institution(GRADES, subjects, merge_physical=True)
    assert {name: len(ids) for name, ids in merged.items() if "-" in name} == {
        "TCIA02-TCIA10": 69, "TCIA06-TCIA12-TCIA13": 27, "TCIA08-TCIA09": 25,
    }  # fmt: skip
    assert members(merged) == sorted(GRADES)


def test_a_case_that_the_mapping_does_not_know_is_named():
    with pytest.raises(InputError, match=r"does not know B, C, D, E, F and 1 more"):
        by_institution("GFEDCBA", {"A": Subject("", "TMC")})


def test_by_grade():
    sites = by_grade(["a", "b", "c"], {"a": "LGG", "b": "HGG", "c": ""})
    assert sites == {"HGG": ["b"], "LGG": ["a"], "unknown": ["c"]}
    with pytest.raises(InputError, match="No case's grade is known"):
        by_grade(["a"], {"a": ""})


def fets(tmp_path, text):
    path = tmp_path / "partitioning_1.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "Partition_ID,Subject_ID\n1,FeTS21_Training_001\n1,FeTS21_Training_002\n12,FeTS21_Training_010\n",
        "Subject_ID,Partition_ID\nFeTS21_Training_001,01\nFeTS21_Training_002,01\nFeTS21_Training_010,12\n",
        "Subject_ID,Partition_ID\n001,01\n002,1\n010,12\n",
        "Partition_ID,Subject_ID,TrainOrVal\n01,1,train\n1,2,val\n12,10,train\n12,999,train\n",
    ],
)
def test_a_fets_partitioning_in_every_form_in_which_it_came(tmp_path, text):
    ids = ["FeTS21_Training_001", "FeTS21_Training_002", "FeTS21_Training_010"]
    assert by_fets(ids, fets(tmp_path, text)) == {"fets-01": ids[:2], "fets-12": ids[2:]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Partition_ID,Subject_ID\n1,a_1\n2,a_01\n", "puts a_01 into two partitions"),
        ("Partition_ID,Subject_ID\n1,a_1\n", "does not know a_2"),
        ("Site,Case\n1,a_1\n", "has no column Partition_ID and no Subject_ID"),
    ],
)
def test_a_wrong_fets_partitioning_is_refused(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        by_fets(["a_1", "a_2"], fets(tmp_path, text))


def test_the_partition_of_fets2021_is_read_as_it_is(tmp_path):
    known = {case["brats2020_id"]: case["fets2021_partition"] for case in known_cases() if case["fets2021_partition"]}
    lines = [f"{id_},{partition}" for id_, partition in known.items()]
    sites = by_fets(known, fets(tmp_path, "\n".join(["Subject_ID,Partition_ID", *lines])))
    assert {name: len(ids) for name, ids in sites.items()} == {
        f"fets-{p}": n for p, n in Counter(known.values()).items()
    }


@given(st.integers(1, 40), st.integers(0, 2**31), st.sets(st.integers(0, 999), min_size=40))
def test_iid_deals_equally_reproducibly_and_everything_once(sites, seed, numbers):
    ids = [case_id(number) for number in numbers]
    dealt = iid(ids, sites, seed)
    assert dealt == iid(reversed(ids), sites, seed)
    assert members(dealt) == sorted(ids)
    sizes = [len(members) for members in dealt.values()]
    assert len(sizes) == sites and max(sizes) - min(sizes) <= 1


def test_another_seed_deals_otherwise():
    assert iid(GRADES, 4, 0) != iid(GRADES, 4, 1)
    assert dirichlet(GRADES, GRADES, 4, 0.5, 0) != dirichlet(GRADES, GRADES, 4, 0.5, 1)


@given(st.integers(1, 8), st.integers(0, 2**31), st.sampled_from([0.5, 5.0, 1000.0]))
def test_dirichlet_deals_reproducibly_everything_once_and_to_everyone(sites, seed, alpha):
    dealt = dirichlet(GRADES, GRADES, sites, alpha, seed)
    assert dealt == dirichlet(reversed(GRADES), GRADES, sites, alpha, seed)
    assert members(dealt) == sorted(GRADES)
    assert len(dealt) == sites and min(map(len, dealt.values())) >= 8


def shares_of_low_grade(alpha):
    sites = [ids for seed in range(20) for ids in dirichlet(GRADES, GRADES, 5, alpha, seed).values()]
    return [sum(GRADES[id_] == "LGG" for id_ in ids) / len(ids) for ids in sites]


def test_a_small_alpha_skews_the_grades_and_a_large_one_does_not():
    skewed, even = shares_of_low_grade(0.3), shares_of_low_grade(1e5)
    assert max(even) - min(even) < 0.05
    assert max(skewed) > 0.8 and min(skewed) < 0.05


@pytest.mark.parametrize("sites", [0, -1, 370])
def test_too_many_or_no_sites_are_refused(sites):
    with pytest.raises(InputError, match="--sites is"):
        iid(GRADES, sites, 0)
    with pytest.raises(InputError, match="--sites is"):
        dirichlet(GRADES, GRADES, sites, 1.0, 0)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_a_wrong_alpha_is_refused(alpha):
    with pytest.raises(InputError, match="--alpha is"):
        dirichlet(GRADES, GRADES, 4, alpha, 0)


def test_an_alpha_that_starves_sites_is_refused():
    with pytest.raises(InputError, match="larger --alpha or fewer --sites"):
        dirichlet(GRADES, GRADES, 20, 0.01, 0)


def test_the_scans_of_one_patient_stay_together():
    assert patient_of("BraTS-GLI-00005-001") == patient_of("BraTS-GLI-00005-000") == "BraTS-GLI-00005"
    assert patient_of("BraTS20_Training_001") == "BraTS20_Training_001"
    assert patient_of("UPENN-GBM-00012") == "UPENN-GBM-00012"
    ids = [f"BraTS-GLI-{patient:05}-{visit:03}" for patient in range(30) for visit in range(3)]
    for sites in (iid(ids, 5, 0), dirichlet(ids, {}, 5, 1.0, 0)):
        assert members(sites) == ids
        homes = {patient_of(id_): set() for id_ in ids}
        for name, own in sites.items():
            for id_ in own:
                homes[patient_of(id_)].add(name)
        assert {len(home) for home in homes.values()} == {1}


def test_small_sites_are_merged_and_it_is_said():
    sites = {"a": ["1", "2", "3"], "b": ["4"], "c": ["0", "5"]}
    assert merge_small(sites, 3) == (
        {"a": ["1", "2", "3"], "small": ["0", "4", "5"]},
        "Merged into the site 'small': b, c (3 cases).",
    )
    assert "still fewer than 4" in merge_small(sites, 4, keep=["a"])[1]
    assert merge_small(sites, 2) == (sites, "b alone has fewer than 2 cases (1); there is none to merge it with.")
    assert merge_small(sites, 3, keep=["b"])[0] == sites
    assert merge_small(sites, 1) == (sites, "Every site has at least 1 cases; none was merged.")
