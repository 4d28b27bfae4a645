# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brats2020 import SOURCES, case_id
from cases import write_case
from fedpac_me.config import DataConfig, parse_config
from fedpac_me.data.checks import check_root
from fedpac_me.data.federation_split import (
    FederationSplit,
    SiteCases,
    part_of,
    read_split,
    site_root,
    split_sites,
    write_split,
)
from fedpac_me.data.pooling import write_pooled_root
from fedpac_me.data.site import folder_settings
from fedpac_me.data.splits import split_cases
from fedpac_me.engine import run_federation
from fedpac_me.errors import InputError

pytestmark = pytest.mark.slow  # whole sites, processes or pages

SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}
NAMES = st.text("abcXYZ019_-", min_size=1, max_size=12)


def parts_of(sites: dict[str, SiteCases]) -> dict[str, str]:
    return {id_: part for cases in sites.values() for part, ids in cases.parts().items() for id_ in ids}


@given(st.sets(NAMES, min_size=1, max_size=30), st.sets(NAMES, max_size=30), st.integers(0, 2**31))
def test_a_case_keeps_its_part_whatever_cases_come(first, more, seed):
    try:
        before = parts_of(split_sites({"a": sorted(first)}, seed))
        after = parts_of(split_sites({"a": sorted(first | more)}, seed))
        elsewhere = parts_of(split_sites({"b": sorted(first), "c": sorted(first | {"train_1"})}, seed))
    except InputError as error:
        assert "would train: there are too few" in str(error)
        return
    assert before.keys() == first and after.keys() == first | more
    assert before.items() <= after.items()
    assert before.items() <= elsewhere.items()


@given(st.integers(0, 2**31))
def test_shares_hold_in_every_institution_and_grade_of_brats2020(seed):
    for _, _, one, last in SOURCES:
        cases = last - one + 1
        counts = Counter(part_of(case_id(number), seed) for number in range(one, last + 1))
        assert all(abs(counts[part] - share * cases) < 3 for part, share in SHARES.items())
        assert cases < 8 or set(counts) == set(SHARES)


def test_shares_hold_roughly_where_ids_are_not_numbered():
    counts = Counter(part_of(f"case-{number:x}-z", 0) for number in range(4000))
    assert all(abs(counts[part] / 4000 - share) < 0.03 for part, share in SHARES.items())


def test_seeds_differ():
    splits = {tuple(part_of(case_id(number), seed) for number in range(1, 370)) for seed in range(20)}
    assert len(splits) == 20


@given(st.integers(0, 99999), st.integers(0, 9))
def test_the_scans_of_one_patient_have_one_part(patient, seed):
    assert len({part_of(f"BraTS-GLI-{patient:05}-{visit:03}", seed) for visit in range(5)}) == 1


def test_a_site_left_out_only_tests():
    ids = [case_id(number) for number in range(1, 60)]
    split = split_sites({"a": ids[:30], "b": ids[30:]}, 0, ["b"])
    assert split["b"] == SiteCases(role="evaluate", test=tuple(ids[30:]))
    assert split["a"] == split_sites({"a": ids[:30]}, 0)["a"]
    with pytest.raises(InputError, match="no site c to leave out"):
        split_sites({"a": ids[:30], "b": ids[30:]}, 0, ["c"])
    with pytest.raises(InputError, match="none would train"):
        split_sites({"a": ids}, 0, ["a"])


def test_a_site_that_could_not_train_is_named():
    lone = next(case_id(number) for number in range(1, 99) if part_of(case_id(number), 0) == "test")
    with pytest.raises(InputError, match="No case of a would train: there are too few"):
        split_sites({"a": [lone]}, 0)


@pytest.fixture
def data(tmp_path) -> Path:
    for number in range(6):
        write_case(tmp_path / "data", f"C_{number}", edge=24, seed=number)
    return tmp_path / "data"


A = {"role": "train", "train": ["C_0", "C_1"], "validation": ["C_2"], "test": ["C_3"]}
B = {"role": "evaluate", "test": ["C_4"]}


def write(tmp_path, sites=None, **changes) -> Path:
    content = {"version": 1, "data": "data", "sites": {"A": A, "B": B} if sites is None else sites, **changes}
    path = tmp_path / "splits.json"
    path.write_text(json.dumps(content))
    return path


def test_a_split_comes_back_and_its_folder_moves_with_it(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    split = FederationSplit(data=Path("data"), sites={"A": SiteCases(**A)}, how={"by": "iid"})
    write_split(Path("out/splits.json"), split)
    assert json.loads(Path("out/splits.json").read_text())["data"] == "../data"
    back = read_split(tmp_path / "out" / "splits.json")
    assert (back.sites, back.how, back.data.resolve()) == (split.sites, split.how, data)
    write_split(Path("out/splits.json"), split.model_copy(update={"data": data}))
    assert json.loads(Path("out/splits.json").read_text())["data"] == str(data)


def test_the_named_data_folder_stands_for_the_written_one(data, tmp_path):
    path = write(tmp_path)
    shutil.move(data, tmp_path / "moved")
    with pytest.raises(InputError, match="There is no data folder"):
        read_split(path)
    assert read_split(path, tmp_path / "moved").data == tmp_path / "moved"


@pytest.mark.parametrize("id_", ["../C_0", "/etc/passwd", "data/C_0", "..", "", "a\\b"])
def test_a_path_in_place_of_an_id_is_refused(data, tmp_path, id_):
    with pytest.raises(InputError, match="Expected plain ids"):
        read_split(write(tmp_path, {"A": {**A, "validation": [id_]}}))
    (tmp_path / "own.json").write_text(json.dumps({"train": [id_]}))
    with pytest.raises(InputError, match="Expected plain ids"):
        split_cases([data], tmp_path / "own.json")


@pytest.mark.parametrize(
    ("sites", "words"),
    [
        ({"A": {**A, "test": ["C_9", "C_8"]}}, "not in .*data: C_8, C_9"),
        ({"A": {**A, "test": ["C_0"]}}, r"more than once: C_0 \(train of A and test of A\)"),
        ({"A": {**A, "test": ["C_3", "C_3"]}}, r"more than once: C_3"),
        ({"A": A, "B": {**B, "test": ["C_3"]}}, r"more than once: C_3 \(test of A and test of B\)"),
        ({"A": {**A, "train": []}}, "gives the site A no cases to train with"),
        ({"A": A, "B": {"role": "evaluate"}}, "gives the site B no cases to evaluate with"),
        ({"../A": A}, "cannot hold the site '../A'"),
        ({"pooled": A}, "cannot hold the site 'pooled'"),
        ({"server": A}, "cannot hold the site 'server'"),
        ({"-A": A}, "cannot hold the site '-A'"),
        ({}, "has no sites"),
        ({"A": {**A, "role": "pooled"}}, r"not a valid split of a federation: sites\.A\.role"),
        ({"A": {**A, "tset": []}}, r"sites\.A\.tset"),
        ({"A": {**A, "train": [1]}}, r"sites\.A\.train\.0"),
    ],
)
def test_a_wrong_split_is_refused(data, tmp_path, sites, words):
    with pytest.raises(InputError, match=words):
        read_split(write(tmp_path, sites))


def test_a_file_of_another_kind_is_refused(data, tmp_path):
    with pytest.raises(InputError, match="version"):
        read_split(write(tmp_path, version=2))
    (tmp_path / "x.json").write_text("{")
    for path in (tmp_path / "x.json", tmp_path / "none.json"):
        with pytest.raises(InputError, match="is not a valid split of a federation"):
            read_split(path)


def test_a_federations_split_is_not_taken_for_a_sites(data, tmp_path):
    shutil.copy(write(tmp_path), data / "splits.json")
    with pytest.raises(InputError, match="splits the cases of several sites"):
        split_cases([data])


def ids_of(folder: Path) -> dict[str, list[str]]:
    settings = folder_settings(folder)
    parts = split_cases(settings.data, settings.splits).parts()
    return {part: [case.id for case in cases] for part, cases in parts.items() if cases}


def test_only_listed_cases_belong_to_a_site_of_the_root(data, tmp_path):
    before = sorted(data.rglob("*"))
    with site_root(None, write(tmp_path)) as root:
        assert ids_of(root / "A") == {part: A[part] for part in SHARES}
        assert ids_of(root / "B") == {"test": ["C_4"]}
        assert [folder_settings(root / name).role for name in "AB"] == ["train", "evaluate"]
        assert check_root(root, DataConfig(), lambda line: None) == {"A": 4, "B": 1}
        assert not list(root.rglob("*.nii.gz"))
    assert not root.exists()
    assert sorted(data.rglob("*")) == before
    with site_root(data, None) as root:
        assert root == data


def test_central_training_has_the_cases_of_the_training_sites_and_no_others(data, tmp_path):
    more = {"role": "train", "train": ["C_5"]}
    with site_root(None, write(tmp_path, {"A": A, "B": B, "D": more})) as root:
        write_pooled_root(root, tmp_path / "pooled")
        assert ids_of(tmp_path / "pooled" / "pooled") == {
            "train": ["C_0", "C_1", "C_5"], "validation": ["C_2"], "test": ["C_3"],
        }  # fmt: skip
        assert ids_of(tmp_path / "pooled" / "B") == {"test": ["C_4"]}
        assert folder_settings(tmp_path / "pooled" / "pooled").data == (data,)


def test_a_sites_settings_may_name_its_split(data, tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "mine.json").write_text(json.dumps({"train": ["C_1"]}))
    (data / "site.json").write_text(json.dumps({"splits": "../lists/mine.json"}))
    assert ids_of(data) == {"train": ["C_1"]}
    (data / "site.json").write_text(json.dumps({"splits": 3}))
    with pytest.raises(InputError, match="not a valid site settings file"):
        folder_settings(data)


@pytest.mark.parametrize("pooled", [False, True])
def test_a_split_trains_like_any_other_federation(data, tmp_path, pooled):
    config = parse_config(
        {
            "method": "m",
            "title": "t",
            "pooled": pooled,
            "data": {"crop": 16},
            "model": {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1]},
            "learning": {"steps_per_round": 1},
            "federation": {"rounds": 1, "quorum": 1},
        }
    )
    with site_root(None, write(tmp_path)) as root:
        if pooled:
            write_pooled_root(root, tmp_path / "pooled")
            root = tmp_path / "pooled"
        outcome = run_federation(config, root, tmp_path / "kept", progress=lambda line: None)
    tested = {name: len(found["cases"]) for name, found in outcome.evaluations.items()}
    assert tested == {"A": 1, "B": 1, **({"pooled": 0} if pooled else {})}
    (record,) = outcome.ledger.rounds
    assert [(line.site, line.cases) for line in record.accepted] == [("pooled" if pooled else "A", 2)]
