# SPDX-License-Identifier: Apache-2.0
"""From the statistics that FLARE wrote to the report, with sites that are hostile, withheld or silent."""

from __future__ import annotations

import json
import re
from dataclasses import asdict

import pytest

from fedpac_me.data_stats.features import CASES, RAW
from fedpac_me.data_stats.privacy import PrivacySettings
from fedpac_me.data_stats.report import stats_table, write_data_stats
from fedpac_me.data_stats.summary import summarise

EVIL = "<script>alert(1)</script>"


def values(**by_site):
    return {site: {"cases": value} for site, value in by_site.items()}


@pytest.fixture
def statistics() -> dict:
    bins = [[0.0, 10.0, 3.0], [10.0, 20.0, 9.0]]
    return {
        CASES: {"count": values(a=12, b=20, Global=32)},
        "WT": {"count": values(a=12, b=20), "mean": values(a=1.5, b=float("nan")), "stddev": values(a=0.5)},
        RAW["t1"]: {
            "count": values(a=12, b=20),
            "mean": values(a=400.0, b=EVIL),
            "histogram": values(a=bins, b=[[0.0, 30.0, 20.0]], uncounted=bins, Global=bins),
        },
        EVIL: {"count": values(a=1)},
    }


@pytest.fixture
def report(statistics) -> dict:
    return summarise(
        statistics,
        answered=["a", "b", "small"],
        silent={"broken": f"its data {EVIL}"},
        shared={"a": {"b": 2, "small": 0}, "b": {"a": 1}, "small": {}},
        privacy=asdict(PrivacySettings()),
    )


def test_each_site_is_shown_withheld_or_silent(report):
    assert list(report["sites"]) == ["a", "b"]
    assert report["withheld"] == ["small"]
    assert report["silent"] == {"broken": f"its data {EVIL}"}
    assert report["sites"]["a"]["cases"] == 12
    assert report["all"]["cases"] == 32


def test_only_known_names_and_finite_numbers_are_taken(report):
    assert report["sites"]["b"]["volumes_ml"]["WT"] == {"cases": 20, "mean": None, "sd": None}
    assert report["sites"]["b"]["modalities"]["t1"]["mean"] is None
    assert EVIL not in json.dumps({**report, "silent": {}}, allow_nan=False)


def test_a_histogram_of_other_bins_or_of_a_site_that_is_not_shown_is_left_out(report):
    assert report["histograms"]["t1"]["raw"] == {
        "edges": [0.0, 10.0, 20.0],
        "all": [0.25, 0.75],
        "sites": {"a": [0.25, 0.75]},
    }
    assert report["histograms"]["t1"]["z"] == {}


def test_shared_subjects_are_those_of_sites_that_are_shown(report):
    assert report["shared_subjects"] == {"a": {"b": 2}, "b": {"a": 1}}


def test_the_table_names_every_site(report):
    lines = stats_table(report).splitlines()
    assert lines[1].split() == ["a", "12", *"-----", "-", "1.5", "-", "400", *"---"]
    assert "small: fewer than 10 cases, so nothing is shown." in lines
    assert f"broken could not answer: its data {EVIL}." in lines
    assert lines[-2:] == ["2 of 12 cases of a are at b, too.", "1 of 20 cases of b is at a, too."]


def test_the_page_is_one_file_escaped_and_the_same_each_time(report, tmp_path):
    page = write_data_stats(tmp_path, report)
    text = page.read_text(encoding="utf-8")
    assert EVIL not in text and "&lt;script&gt;" in text
    assert re.findall(r"(?:src|href)=\"(?!data:|#)", text) == []
    assert text.count("<svg ") == 1
    assert "Histogram of raw intensities of t1" in text
    assert json.loads((tmp_path / "data_stats.json").read_text()) == report
    write_data_stats(tmp_path / "again", report)
    assert (tmp_path / "again" / "data_stats.html").read_bytes() == page.read_bytes()


def test_sites_without_histograms_or_subjects_make_a_page_too(statistics, tmp_path):
    del statistics[RAW["t1"]]
    report = summarise(statistics, ["a"], {}, {}, asdict(PrivacySettings()))
    text = write_data_stats(tmp_path, report).read_text(encoding="utf-8")
    assert "No site has enough cases for a histogram." in text
    assert "There are not two sites whose images could be compared." in text
