# SPDX-License-Identifier: Apache-2.0
"""Intervals and tests, against answers worked out by hand, and a report's means from cases.csv alone."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_run import write_routed_run

from fedpac_me.cli import main
from fedpac_me.errors import InputError
from fedpac_me.evaluation.report import write_report
from fedpac_me.evaluation.statistics import (
    bootstrap,
    bootstrap_runs,
    compare,
    comparison_table,
    difference,
    holm,
    mean_over_sites,
    paired_p,
    read_cases,
    spread,
    worst_site,
)
from fedpac_me.storage import read_json

TWO_SITES = {("a", 1): 0.9, ("a", 2): 0.7, ("b", 1): 0.2}


def test_sites_count_alike_however_many_cases_they_have():
    assert mean_over_sites(TWO_SITES) == pytest.approx((0.8 + 0.2) / 2)
    assert worst_site(TWO_SITES) == ("b", pytest.approx(0.2))
    assert spread(TWO_SITES) == pytest.approx(0.6)


def test_the_bootstrap_draws_cases_within_their_site():
    found = bootstrap(TWO_SITES)
    # b has one case and cannot vary; a's mean is .7, .8 or .9 with chances 1/4, 1/2, 1/4.
    assert (found.low, found.mean, found.high) == pytest.approx((0.45, 0.5, 0.55))
    assert bootstrap(TWO_SITES) == found


def test_an_interval_has_the_width_that_theory_gives():
    values = np.random.default_rng(0).normal(0, 1, 400)
    found = bootstrap({("a", number): float(value) for number, value in enumerate(values)})
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)


def test_seeds_are_drawn_again_too_and_cases_the_same_for_all_of_them():
    # One case: only seeds vary. Both the first, one of each, both the second: chances 1/4, 1/2, 1/4.
    one_case = [[{("a", 1): 0.2}, {("a", 1): 0.6}]]
    found = bootstrap_runs(one_case)
    assert (found.low, found.mean, found.high) == pytest.approx((0.2, 0.4, 0.6))
    # Two seeds that agree: the interval is that of one, as only cases vary.
    assert bootstrap_runs([[TWO_SITES, TWO_SITES]]).high == pytest.approx(bootstrap(TWO_SITES).high)


def test_federations_stay_and_count_alike():
    found = bootstrap_runs([[{("a", 1): 0.2}], [{("a", 1): 0.4}, {("a", 1): 0.4}]])
    assert (found.low, found.mean, found.high) == pytest.approx((0.3, 0.3, 0.3))


def test_an_interval_over_seeds_has_the_width_that_theory_gives():
    rng = np.random.default_rng(0)
    effects = rng.normal(0, 1, 200)
    runs = [{("a", case): float(effect) for case in range(20)} for effect in effects]
    found = bootstrap_runs([runs])
    assert found.high - found.low == pytest.approx(2 * 1.96 * effects.std() / np.sqrt(200), rel=0.05)


def test_runs_of_one_federation_hold_the_same_cases():
    with pytest.raises(InputError, match="only one of the two"):
        bootstrap_runs([[TWO_SITES, {("a", 1): 0.5}]])


def test_the_paired_test_by_hand():
    # All of six differences positive: two of 2⁶ sign patterns are as extreme.
    assert paired_p({("a", number): float(number) for number in range(1, 7)}) == pytest.approx(2 / 64)
    assert paired_p({("a", 1): 0.0, ("a", 2): 0.0}) == 1.0


def test_holm_by_hand():
    assert holm({"x": 0.01, "y": 0.04, "z": 0.03}) == pytest.approx({"x": 0.03, "y": 0.06, "z": 0.06})
    assert holm({"x": 0.9, "y": 0.8}) == {"x": 1.0, "y": 1.0}


def test_only_the_same_cases_are_compared():
    with pytest.raises(InputError, match="1 cases are in only one"):
        difference(TWO_SITES, {key: value for key, value in TWO_SITES.items() if key != ("b", 1)})


@pytest.fixture
def run(tmp_path):
    folder = write_routed_run(tmp_path / "run")
    write_report(folder)
    return folder


def test_a_reports_means_follow_from_cases_csv(run):
    report = read_json(run / "report.json")
    for role, headline in (("train", "mean"), ("evaluate", "unseen")):
        scores = read_cases(run / "cases.csv", role=role)
        assert mean_over_sites(scores) == pytest.approx(report[headline]["dice"]["mean"])
    trained = read_cases(run / "cases.csv")
    assert worst_site(trained)[0] == report["worst_site"]["site"]


def test_a_run_compared_with_itself_differs_in_nothing(run):
    rows = compare({"one": run / "cases.csv", "same": run / "cases.csv"}, "one")
    assert [(row["run"], row["difference"].mean, row["p"]) for row in rows] == [("same", 0.0, 1.0)]
    assert "same" in comparison_table(rows, "one")


def test_another_file_is_refused(tmp_path):
    (tmp_path / "cases.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="is not a cases"):
        read_cases(tmp_path / "cases.csv")
    with pytest.raises(InputError, match="is not a cases"):
        read_cases(tmp_path / "none.csv")


def test_the_command_compares_seen_and_unseen_sites(run, tmp_path, capsys):
    other = write_routed_run(tmp_path / "other")
    write_report(other)
    assert main(["significance", str(run), str(other)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("other") == 2 and "never trained" in printed and "+0.000 [+0.000, +0.000]" in printed
    assert main(["significance", str(run)]) == 2
