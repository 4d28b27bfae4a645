# SPDX-License-Identifier: Apache-2.0
"""``jobs/data_stats.py``: one run through the FLARE simulator, looked at from all sides, and bad input."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from broken_files import file, write_bytes
from cases import write_case
from fedpac_me.data.layouts import find_case
from fedpac_me.data_stats.case_figures import measure_case
from fedpac_me.data_stats.features import PARTITIONS
from flare_tools import MARK, ROOT, Command, run_command, run_here

MIN_COUNT, BINS = 5, 4
truncate = write_bytes("t2", lambda content: content[: len(content) // 2])


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Two good sites that share two subjects, one with too few cases that shares one, one that cannot be read."""
    root = tmp_path_factory.mktemp("hospitals")
    for site, cases in ((1, 7), (2, 6), (3, 3), (4, 1)):
        for number in range(cases):
            missing = ("flair",) if site == 2 else ()
            write_case(root / f"site-{site}", f"{MARK}_{site}_{number}", 16, seed=10 * site + number, missing=missing)
    truncate(root / "site-1" / f"{MARK}_1_6")
    truncate(root / "site-4" / f"{MARK}_4_0")
    for number in range(2):
        for modality in ("t1", "t2"):
            theirs = file(root / "site-2" / f"{MARK}_2_{number}", modality)
            shutil.copy(file(root / "site-1" / f"{MARK}_1_{number}", modality), theirs)
    shutil.copy(
        file(root / "site-1" / f"{MARK}_1_3", "t1ce"),
        file(root / "site-3" / f"{MARK}_3_0", "t1ce"),
    )
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def done(place, data) -> Command:
    words = ["--data", data, "--min-count", str(MIN_COUNT), "--bins", str(BINS)]
    return run_command(sys.executable, ROOT / "jobs/data_stats.py", *words, cwd=place)


@pytest.fixture(scope="module")
def run(done, place) -> Path:
    assert done.code == 0, done.out + done.err
    return place / "runs" / "data_stats"


@pytest.fixture(scope="module")
def report(run) -> dict:
    return json.loads((run / "data_stats.json").read_text())


def private_log(run: Path, site: str) -> str:
    return next((run / site).rglob("private.log")).read_text(encoding="utf-8")


def test_the_console_shows_a_table_who_is_missing_and_where_the_report_is(done, run):
    lines = done.out.splitlines()
    assert [line.split()[:2] for line in lines[2:5]] == [["site-1", "6"], ["site-2", "6"], ["all", "12"]]
    assert "site-3: fewer than 5 cases, so nothing is shown." in lines
    assert any(line.startswith("site-4 could not answer: the site's data or settings are not usable") for line in lines)
    assert "2 of 6 cases of site-1 are at site-2, too." in lines
    assert lines[-1] == f"Report: {Path('runs/data_stats/data_stats.html')}"
    assert done.err == ""


def test_the_figures_are_those_of_the_cases(report, data):
    cases = [find_case(data / "site-1" / f"{MARK}_1_{number}") for number in range(6)]
    figures = [measure_case(case, "train", "") for case in cases]
    site = report["sites"]["site-1"]
    assert (site["cases"], site["unusable"], sum(site["parts"].values())) == (6, 1, 6)
    volumes = [each.volumes_ml["WT"] for each in figures]
    assert site["volumes_ml"]["WT"]["mean"] == pytest.approx(sum(volumes) / 6, abs=1e-3)
    assert site["modalities"]["t1"]["cases"] == 6
    assert report["sites"]["site-2"]["modalities"]["flair"] == {"cases": None, "mean": None, "sd": None}
    assert (report["all"]["cases"], report["all"]["modalities"]["flair"]["cases"]) == (12, 6)
    for unit in ("raw", "z"):
        histogram = report["histograms"]["t1"][unit]
        assert set(histogram["sites"]) == {"site-1", "site-2"}
        assert all(sum(shares) == pytest.approx(1, abs=1e-5) for shares in histogram["sites"].values())
        assert len(histogram["edges"]) == BINS + 1


def test_a_site_with_too_few_cases_is_nowhere_in_what_the_server_holds(run, report):
    assert (report["withheld"], list(report["sites"])) == (["site-3"], ["site-1", "site-2"])
    statistics = json.loads(next((run / "server").rglob("statistics.json")).read_text())
    sites = {site for by_site in statistics.values() for found in by_site.values() for site in found}
    assert sites == {"site-1", "site-2", "Global"}


def test_a_site_without_usable_data_is_named_with_a_reason_and_the_others_go_on(run, report):
    assert list(report["silent"]) == ["site-4"]
    assert "its own private.log says why" in report["silent"]["site-4"]
    assert "None of the site's 1 cases can be used" in private_log(run, "site-4")
    assert f"{MARK}_4_0: t2 cannot be read" in private_log(run, "site-4")


def test_shared_subjects_are_counted_at_the_server_and_named_at_the_site(run, report):
    assert report["shared_subjects"] == {"site-1": {"site-2": 2}, "site-2": {"site-1": 2}}
    for site in (1, 2):
        said = private_log(run, f"site-{site}")
        assert said.count("is at another site") == 2
        assert all(f"Case {MARK}_{site}_{number} is at another site" in said for number in range(2))
    assert f"{MARK}_1_6: t2 cannot be read" in private_log(run, "site-1")
    # One of its images is at site-1, which a site that is withheld does not say.
    assert not list((run / "site-3").rglob("private.log"))


def test_no_patient_no_path_and_no_fingerprint_reaches_what_the_server_holds(run, data):
    files = [path for path in (*run.glob("*.*"), *(run / "server").rglob("*")) if path.is_file()]
    assert {"data_stats.html", "statistics.json", "log.txt"} <= {path.name for path in files}
    cases = [find_case(data / "site-2" / f"{MARK}_2_{number}") for number in range(6)]
    prints = {value for case in cases for value in measure_case(case, "train", "").fingerprints.values()}
    for secret in (MARK, str(data), *prints):
        assert [path for path in files if secret.encode() in path.read_bytes()] == []


def test_no_name_of_a_patient_is_in_a_sites_log_either_which_flare_may_stream(run):
    logs = [path for path in run.glob("site-*/**/*log*.txt") if path.is_file()]
    assert len(logs) > 3
    assert [path for path in logs if MARK.encode() in path.read_bytes()] == []


def test_the_page_shows_every_site_and_the_settings(run):
    page = (run / "data_stats.html").read_text(encoding="utf-8")
    assert page.count("<svg ") == 8
    assert "Withheld, with fewer than 5 cases: site-3." in page
    assert "10 to 30 %" in page
    assert page == next((run / "server").rglob("data_stats.html")).read_text(encoding="utf-8")


def test_an_exported_job_carries_the_package_and_its_settings_and_no_salt(place, data_stats_module):
    words = ["--export", "--name", "stats", "--min-count", "7"]
    exported = run_here(data_stats_module.main, *words, cwd=place)
    assert exported.out == f"Job written: {Path('build/jobs/stats')}\n", exported.err
    job = place / "build/jobs/stats"
    assert (job / "app/custom/fedpac_me/data_stats/page.html").is_file()
    client = json.loads((job / "app/config/config_fed_client.json").read_text())
    given = {each["id"]: each["args"] for each in client["components"]}
    assert given["min_count"] == {"min_count": 7}
    assert given["noise"] == {"min_noise_level": 0.1, "max_noise_level": 0.3}
    assert given["bins"] == {"max_bins_percent": 100.0}
    assert given["counts"] == {"partitions": [list(features) for features in PARTITIONS]}
    assert "salt" not in (job / "app/config/config_fed_server.json").read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--data", "nowhere"], "There is no data folder nowhere"),
        (["--data", "empty"], "holds no site folders"),
        ([], "Nothing says where the cases are"),
        (["--data", "empty", "--name", "a/b"], "must consist of letters"),
        (["--data", "empty", "--min-count", "0"], "The minimum count is 0"),
        (["--data", "empty", "--bins", "0"], "--bins is 0"),
    ],
)
def test_bad_input_is_a_sentence_and_leaves_nothing(data_stats_module, tmp_path, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert data_stats_module.main(words) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_run_is_not_overwritten_unasked(data_stats_module, tmp_path, capsys):
    (tmp_path / "data_stats").mkdir()
    assert data_stats_module.main(["--data", str(tmp_path), "--runs", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
