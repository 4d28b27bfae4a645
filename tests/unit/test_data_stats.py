# SPDX-License-Identifier: Apache-2.0
"""The figures of a case, the columns of a site, hashed subjects and privacy settings, without FLARE."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from broken_files import edit, file, remove, write_bytes
from cases import write_case
from fedpac_me.data.layouts import find_case
from fedpac_me.data.site import SiteSettings
from fedpac_me.data_stats.case_figures import QUANTILES, measure_case
from fedpac_me.data_stats.features import FEATURES, RAW, Z_SCORES, statistic_configs
from fedpac_me.data_stats.privacy import PrivacySettings
from fedpac_me.data_stats.site_figures import read_site
from fedpac_me.data_stats.subjects import (
    count_shared,
    draw_salt,
    hashed_subjects,
    own_cases,
    require_subjects,
    shared_hashes,
)
from fedpac_me.errors import InputError
from fedpac_me.labels import MODALITIES


def read(folder: Path, tell: Callable[[str], None] = lambda sentence: None):
    return read_site(SiteSettings(data=(folder,)), tell)


def inside(folder: Path, modality: str) -> np.ndarray:
    values = np.asanyarray(nibabel.load(file(folder, modality)).dataobj)
    return values[values != 0].astype(float)


def test_a_case_is_measured_in_its_own_units(case):
    figures = measure_case(find_case(case), "train", "HGG")
    labels = np.asanyarray(nibabel.load(file(case, "seg")).dataobj)
    assert figures.spacing_mm == (1, 1, 1)
    assert figures.volumes_ml["WT"] == pytest.approx(np.count_nonzero(labels) / 1000)
    assert figures.volumes_ml["ET"] == figures.volumes_ml["label_4"] == np.count_nonzero(labels == 4) / 1000
    assert figures.volumes_ml["TC"] == pytest.approx(np.isin(labels, (1, 4)).sum() / 1000)
    for modality in MODALITIES:
        found, voxels = figures.intensities[modality], inside(case, modality)
        assert found.quantiles.shape == (QUANTILES,)
        assert np.median(found.quantiles) == pytest.approx(np.median(voxels), abs=0.6)
        assert (found.mean, found.deviation) == (pytest.approx(voxels.mean()), pytest.approx(voxels.std()))
        assert found.z_scores.mean() == pytest.approx(0, abs=0.02)


def test_volumes_and_spacing_follow_the_affine(tmp_path):
    folder = write_case(tmp_path, "Case_001")
    edit(lambda data: data, *MODALITIES, "seg", affine=np.diag([-2.0, -1.0, 3.0, 1.0]))(folder)
    figures = measure_case(find_case(folder), "test", "")
    labels = np.asanyarray(nibabel.load(file(folder, "seg")).dataobj)
    assert figures.spacing_mm == (2, 1, 3)
    assert figures.volumes_ml["WT"] == pytest.approx(6 * np.count_nonzero(labels) / 1000)


def test_what_a_case_lacks_is_no_figure(case):
    remove("flair", "seg")(case)
    figures = measure_case(find_case(case), "train", "")
    assert set(figures.intensities) == {"t1", "t1ce", "t2"}
    assert figures.volumes_ml == {}


@pytest.mark.parametrize("part", ["t2", "seg"])
def test_an_unreadable_file_is_a_sentence(case, part):
    write_bytes(part, lambda content: content[:40])(case)
    with pytest.raises(InputError, match=f"Case Case_001: {part} cannot be read"):
        measure_case(find_case(case), "train", "")


def test_a_site_leaves_out_what_it_cannot_use_and_says_which(site_folder):
    folder = site_folder(cases=5)
    write_bytes("t1", lambda content: content[:40])(folder / "Case_site-1_002")
    heard: list[str] = []
    site = read(folder, heard.append)
    assert (site.count("cases"), site.sum("unusable"), site.count("unusable")) == (4, 1, 5)
    assert sum(site.sum(part) for part in ("train", "validation", "test")) == 4
    assert len(heard) == 1 and "Case_site-1_002" in heard[0]


def test_a_site_without_a_usable_case_is_refused(site_folder):
    folder = site_folder(cases=1)
    write_bytes("t1", lambda content: content[:40])(folder / "Case_site-1_000")
    with pytest.raises(InputError, match="None of the site's 1 cases can be used"):
        read(folder)


def test_every_feature_has_a_name_that_is_the_same_everywhere(site_folder):
    folder = site_folder(cases=3, missing=("flair",))
    (folder / "Case_site-1_000" / "acquisition.json").write_text('{"grade": "HGG"}')
    (folder / "Case_site-1_001" / "acquisition.json").write_text('{"grade": "Mr Smith"}')
    site = read(folder)
    assert set(site.features()) <= set(FEATURES)
    assert set(FEATURES) - set(site.features()) == {"LGG", "flair_raw", "flair_z"}
    assert (site.count("HGG"), site.count("no_grade"), site.count("LGG")) == (1, 2, 0)


def test_grades_come_from_the_mapping_of_the_data_set_where_there_is_one(tmp_path):
    write_case(tmp_path, "BraTS20_Training_001")
    header = "Grade,BraTS_2019_subject_ID,BraTS_2020_subject_ID"
    (tmp_path / "name_mapping.csv").write_text(f"{header}\nLGG,NA,BraTS20_Training_001\n")
    assert read(tmp_path).count("LGG") == 1


def test_sums_deviations_and_variances_are_those_of_all_cases(tmp_path):
    for number in range(6):
        write_case(tmp_path / ("a" if number < 4 else "b"), f"C_{number}", edge=18 + 2 * number, seed=number)
    sites = [read(tmp_path / "a"), read(tmp_path / "b")]
    volumes = np.concatenate([[case.volumes_ml["WT"] for case in site.cases] for site in sites])
    mean = sum(site.sum("WT") for site in sites) / 6
    assert mean == pytest.approx(volumes.mean())
    assert sites[0].deviation("WT") == pytest.approx(volumes[:4].std(ddof=1))
    assert sum(site.variance_around("WT", mean, 6) for site in sites) == pytest.approx(volumes.var(ddof=1))


def test_a_histogram_spreads_each_case_over_its_voxels_and_loses_none(site_folder):
    folder = site_folder(cases=2)
    site = read(folder)
    for feature, low, high in ((RAW["t1"], 80.0, 180.0), (Z_SCORES["t1"], -3.0, 5.0)):
        bins = site.histogram(feature, 4, low, high)
        assert [each[0] for each in bins] == [low + number * (high - low) / 4 for number in range(4)]
        assert sum(count for *_, count in bins) == pytest.approx(2)
    voxels = [inside(folder / f"Case_site-1_{number:03}", "t1") for number in range(2)]
    below = sum(np.mean(each < 105) for each in voxels)
    assert site.histogram(RAW["t1"], 4, 80, 180)[0][2] == pytest.approx(below, abs=0.02)
    assert site.histogram("WT", 4, 0, 1) == []
    low, high = site.extremes(RAW["t1"])
    assert min(map(np.min, voxels)) < low < high < max(map(np.max, voxels))


def test_flare_is_asked_for_no_extremes_but_those_of_raw_intensities():
    histograms = statistic_configs(8)["histogram"]
    assert {name for name, config in histograms.items() if "range" not in config} == set(RAW.values())


def test_subjects_are_compared_by_hashes_of_one_salt(tmp_path):
    write_case(tmp_path / "a", "A_1", seed=1)
    write_case(tmp_path / "a", "A_2", seed=2)
    write_case(tmp_path / "b", "B_1", seed=3)
    copied = write_case(tmp_path / "b", "B_2", seed=4)
    shutil.copy(file(tmp_path / "a" / "A_2", "t2"), file(copied, "t2"))  # one image of the four is enough
    sites = {name: read(tmp_path / name) for name in ("a", "b")}
    salt = draw_salt()
    hashed = {name: hashed_subjects(site.cases, salt) for name, site in sites.items()}
    assert count_shared(hashed) == {"a": {"b": 1}, "b": {"a": 1}}
    elsewhere = shared_hashes(hashed)
    assert [len(hashes) for hashes in elsewhere.values()] == [1, 1]
    assert own_cases(sites["a"].cases, salt, elsewhere["a"]) == ["A_2"]
    assert own_cases(sites["b"].cases, salt, elsewhere["b"]) == ["B_2"]
    assert count_shared({**hashed, "b": hashed_subjects(sites["b"].cases, draw_salt())})["a"] == {"b": 0}
    prints = {value for site in sites.values() for case in site.cases for value in case.fingerprints.values()}
    assert not [value for value in prints if value in json.dumps(hashed)]


@pytest.mark.parametrize("answer", [None, "ab", [["short"]], [[1]], ["0" * 64], {"a": []}])
def test_an_answer_that_holds_no_hashes_is_refused(answer):
    with pytest.raises(InputError, match="no list of lists of hashes"):
        require_subjects(answer)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"min_count": 0}, "The minimum count is 0"),
        ({"min_noise_level": 0.4}, "between 0.4 and 0.3"),
        ({"max_noise_level": 1.5}, "between 0.1 and 1.5"),
        ({"max_bins_percent": 101.0}, "101 % bins"),
    ],
)
def test_settings_that_protect_nothing_are_refused(wrong, words):
    with pytest.raises(InputError, match=words):
        PrivacySettings(**wrong)
