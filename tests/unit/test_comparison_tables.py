# SPDX-License-Identifier: Apache-2.0
"""What a comparison says, from runs made up in the test: tables, tests, cost, page."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import replace

import pytest
from made_up_comparison import data_set, finish, method
from made_up_run import EVIL

from fedpac_me.comparison.cost import at_equal_time
from fedpac_me.comparison.figures import Point, first_at_least, last_within, read_figures
from fedpac_me.comparison.page import render_page
from fedpac_me.comparison.plan import plan_runs
from fedpac_me.comparison.significance import sentences
from fedpac_me.comparison.write import text_table, write_comparison
from fedpac_me.errors import InputError

SHIFTS = {"ours": 0, "fedavg": 1, "worse": 3, "local": 2}


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """Four methods, two data sets, two seeds; one method shares nothing, one trains twice as long and fails once."""
    out = tmp_path_factory.mktemp("comparison")
    contents = {
        "ours": {"title": f"Ours {EVIL}: a|b"},
        "worse": {"learning": {"steps_per_round": 40}},
        "local": {"federation": {"share": "nothing", "quorum": 0}},
    }
    methods = [method(out, name, **contents.get(name, {})) for name in SHIFTS]
    runs = plan_runs(methods, [data_set(), data_set("huts")], [0, 1], out)
    for run in runs:
        if (run.method.name, run.data.name, run.seed) != ("worse", "huts", 1):
            name = run.method.name
            finish(run, SHIFTS[name], 0.6 - 0.1 * SHIFTS[name] + 0.01 * run.seed, 1.0 + (name == "ours"))
    return runs


@pytest.fixture(scope="module")
def comparison(planned):
    failures = {run.folder.name: "It fell over." for run in planned if not run.done}
    write_comparison(planned[0].out, planned, failures, "ours")
    return json.loads((planned[0].out / "comparison.json").read_text(), parse_constant=pytest.fail)


def test_every_method_has_validation_and_test_figures(comparison):
    assert list(comparison["methods"]) == list(SHIFTS)
    ours, worse = comparison["methods"]["ours"], comparison["methods"]["worse"]
    assert ours["dice"]["seen"] == {"mean": pytest.approx(ours["runs"][0]["test_dice"]["seen"]), "sd": 0, "runs": 4}
    assert ours["dice"]["validation"]["mean"] == pytest.approx(0.605)
    assert ours["dice"]["validation"]["sd"] == pytest.approx(0.005)
    assert ours["dice"]["worst"]["mean"] <= ours["dice"]["seen"]["mean"]
    assert worse["dice"]["unseen"]["mean"] < ours["dice"]["unseen"]["mean"]
    assert {run["data"] for run in ours["runs"]} == {"houses", "huts"}
    assert ours["runs"][0]["bytes_up"] == 1_250_000 * 9  # six rounds, one without a quorum, one with a refusal
    assert comparison["nothing"]["seen"]["voxel_accuracy"] > 0.9
    assert comparison["nothing"]["worst"] <= comparison["nothing"]["seen"]["dice"]["mean"]


def test_a_site_has_every_figure_by_region_as_its_report_has(planned, comparison):
    report = read_figures(planned[0]).report["sites"]["site-2"]
    site = comparison["methods"]["ours"]["sites"]["houses"]["site-2"]
    for figure in ("dice", "dice_nonempty", "hd95", "lesionwise_dice", "lesionwise_hd95"):
        assert site[figure] == pytest.approx(report[figure])
    assert (site["role"], site["cases"]) == ("train", 3)


def test_differences_are_tested_on_common_runs_and_corrected_together(comparison):
    found = {(test["method"], test["sites"]): test for test in comparison["tests"]}
    assert len(found) == 6
    assert found["fedavg", "seen"]["cases"] == 2 * (2 + 3) and found["fedavg", "unseen"]["cases"] == 2 * 4
    assert (found["fedavg", "seen"]["runs"], found["worse", "seen"]["runs"]) == (4, 3)
    for test in found.values():
        low, mean, high = (test["difference"][key] for key in ("low", "mean", "high"))
        assert low <= mean <= high < 0
    # Ten cases, all worse: 2 of 2¹⁰ sign patterns, times six tests; eight: 2 of 2⁸, times three.
    assert found["fedavg", "seen"]["p"] == pytest.approx(6 * 2 / 2**10)
    assert found["local", "unseen"]["p"] == pytest.approx(3 * 2 / 2**8)
    assert found["worse", "seen"]["significant"]


def test_sentences_say_what_is_and_is_not_significant():
    def test(name, mean, significant, p):
        return {"method": name, "sites": "seen", "difference": {"mean": mean}, "significant": significant, "p": p}

    lines = sentences([test("a", -0.1, True, 0.0001), test("b", 0.02, False, 0.4), test("c", 0.2, True, 0.01)], "ours")
    assert lines == [
        "In mean Dice at sites that trained, c (+0.200, p 0.010) is better than ours; a (-0.100, p below 0.001) is "
        "worse than ours; b (+0.020, p 0.400) is not significantly different from ours."
    ]
    assert "Nothing was tested" in sentences([], "ours")[0]


def test_other_compute_and_failed_runs_are_marked(comparison):
    compute = {name: method["compute"]["houses"]["same"] for name, method in comparison["methods"].items()}
    assert compute == {"ours": True, "fedavg": True, "worse": False, "local": True}
    (line,) = [line for line in comparison["sentences"] if line.startswith("worse on huts trains on another amount")]
    assert "40 steps × batch 2 × 28 rounds at 2 sites = 4480 crops of 32³ voxels" in line
    assert any(line.startswith("Not every method trains on as much as ours does") for line in comparison["sentences"])
    assert comparison["methods"]["worse"]["failed"] == [{"data": "huts", "seed": 1}]
    assert "worse, huts, seed 1 failed and is in no figure." in comparison["sentences"]


def test_why_a_run_failed_may_name_cases_and_is_in_no_file(planned, comparison):
    files = list(planned[0].out.glob("comparison.*"))
    assert len(files) == 3 and not any("It fell over" in path.read_text(encoding="utf-8") for path in files)


CURVE = (Point(0, 0, 0.1), Point(4, 10, 0.5), Point(8, 20, 0.4), Point(10, 25, 0.6))


def test_a_curve_is_read_at_its_measured_points_only():
    assert first_at_least(CURVE, 0.45) == CURVE[1] and first_at_least(CURVE, 0.7) is None
    assert last_within(CURVE, 19.9) == CURVE[1] and last_within(CURVE, 25) == CURVE[3]
    assert last_within(CURVE, -1) is None


def test_cost_until_as_good_as_fedavg_and_at_equal_time(comparison):
    found = comparison["methods"]
    # FedAvg itself gets there at its end; ours at its last measurement before that, the others never.
    assert found["fedavg"]["to_target"] == {"of": 4, "reached": 4, "rounds": 6, "seconds": 6}
    assert found["ours"]["to_target"] == {"of": 4, "reached": 4, "rounds": 4, "seconds": 8}
    assert found["worse"]["to_target"]["reached"] == 0 and found["worse"]["to_target"]["rounds"] is None
    # Six rounds of a second each against six of two: three of ours fit, and it is measured every other round.
    assert (found["fedavg"]["at_equal_time"]["limit"], found["fedavg"]["at_equal_time"]["rounds"]) == (6, 6)
    assert (found["ours"]["at_equal_time"]["limit"], found["ours"]["at_equal_time"]["rounds"]) == (6, 2)


def test_the_fastest_has_had_its_whole_time_however_its_seconds_are_added(planned):
    """Python 3.12 adds up a list more exactly than a loop does."""
    whole = read_figures(planned[0])
    for seconds in (math.nextafter(whole.seconds, 0), math.nextafter(whole.seconds, math.inf)):
        equal = at_equal_time({"only": [replace(whole, seconds=seconds)]})["only"]
        assert (equal["rounds"], equal["dice"]) == (whole.rounds, whole.validation)


def test_the_csv_has_a_row_for_every_run_and_site(planned, comparison):
    with open(planned[0].out / "comparison.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15 * 3
    assert float(rows[0]["dice_WT"]) == pytest.approx(
        comparison["methods"]["ours"]["sites"]["houses"]["site-1"]["dice"]["WT"]
    )
    assert {"hd95_nonempty_ET", "lesionwise_hd95_mean", "null_predictor_dice_TC", "voxel_accuracy"} <= rows[0].keys()


def test_the_page_stands_alone_is_escaped_and_the_same_each_time(planned, comparison):
    page = planned[0].out / "comparison.html"
    text = page.read_text(encoding="utf-8")
    evil = render_page({**comparison, "sentences": [EVIL]})
    assert EVIL not in evil and "&lt;script&gt;" in evil
    assert re.findall(r"(?:src|href)=\"(?!data:|#)", text) == []
    assert not re.search(r"url\((?!#)|@import|<script|<link", text)
    assert text.count("<svg ") == 2
    assert text.count("<table>") == text.count("<caption>") == 8
    assert re.findall(r"<h2>(.*?)</h2>", text) == [
        "Mean Dice", "Against ours", "Kind by kind", "What it costs", "At equal time", "Site by site", "Runs",
        "How it was made",
    ]  # fmt: skip
    assert all(words in text for words in ("another amount than ours", '3 <span class="bad">1 failed', "BraTS 2020"))
    assert "nan" not in text.lower()
    failures = {run.folder.name: "It fell over." for run in planned if not run.done}
    write_comparison(planned[0].out, planned, failures, "ours")
    assert page.read_text(encoding="utf-8") == text


def test_the_terminal_shows_every_method_and_the_sentences(comparison):
    lines = text_table(comparison).splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["method", *SHIFTS]
    told = 5 + len(comparison["sentences"])
    assert lines[5:told] == comparison["sentences"]
    assert lines[told : told + 2] == ["", "houses (houses):"] and "huts (huts):" in lines[told:]
    assert [line.split()[0] for line in lines[told + 2 : told + 7]] == ["method", *SHIFTS]
    assert "3 (1 failed)" in lines[3]


def test_one_method_at_sites_that_all_train_is_a_page_too(tmp_path):
    runs = plan_runs([method(tmp_path, "only")], [data_set(roles={"site-1": "train"})], [0], tmp_path)
    found = write_comparison(tmp_path, [finish(run, 1) for run in runs], {}, "only")
    assert found["tests"] == [] and found["target"] is None
    assert found["methods"]["only"]["dice"]["unseen"] is None and found["methods"]["only"]["to_target"] is None
    assert any("one training seed only" in line for line in found["definitions"])
    assert any(
        line.startswith("Connected parts of a predicted region of up to 50 mm³") for line in found["definitions"]
    )
    assert "Nothing was tested" in (tmp_path / "comparison.html").read_text()


def test_without_a_run_or_with_a_damaged_one_there_is_no_comparison(tmp_path):
    (run,) = plan_runs([method(tmp_path, "only")], [data_set()], [0], tmp_path)
    with pytest.raises(InputError, match=r"No run has ended well.* It fell\."):
        write_comparison(tmp_path, [run], {run.folder.name: "It fell."}, "only")
    finish(run, 1)
    (run.folder / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"cannot be read .* Delete it"):
        write_comparison(tmp_path, [run], {}, "only")
    assert not (tmp_path / "comparison.html").exists()
