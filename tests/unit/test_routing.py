# SPDX-License-Identifier: Apache-2.0
"""Which expert spoke: the summary of a made-up run, with the answers written here."""

import json

import pytest
from made_up_run import write_routed_run, write_run

from fedpac_me.errors import InputError
from fedpac_me.evaluation.report import build_report, write_report
from fedpac_me.evaluation.routing import (
    agreement_of_sites,
    contingency_table,
    knock_out,
    routing_of,
    routing_summary,
    training_masses,
)
from fedpac_me.evaluation.run_record import FINAL_MODEL, read_run


def case(expert: int, drop: float | None = None, **more) -> dict:
    """A case that scores .6 in every region, and ``drop`` less with the second expert; TC loses .3 more."""
    found = {"expert": expert} | {f"dice_{region}": 0.6 for region in ("TC", "WT", "ET")}
    if drop is not None:
        found |= {"second_dice_TC": 0.3 - drop, "second_dice_WT": 0.6 - drop, "second_dice_ET": 0.6 - drop}
    return found | more


@pytest.fixture(scope="module")
def routing(tmp_path_factory) -> dict:
    found = routing_summary(read_run(write_routed_run(tmp_path_factory.mktemp("runs") / "routed")))
    json.dumps(found, allow_nan=False)
    return found


def test_tables_count_scans_and_experts_follow_the_protocol(routing):
    tables = routing["tables"]
    assert list(tables) == ["site_training", "site", "protocol", "grade"]
    assert tables["site_training"]["rows"] == ["site-1", "site-2", "site-3"]
    assert tables["site_training"]["counts"] == [[4, 4, 0, 0], [4, 4, 0, 0], [0, 0, 8, 0]]
    assert tables["site"]["rows"] == ["site-1", "site-2", "site-3", "site-5"]
    assert tables["site"]["counts"] == [[2, 2, 0, 0], [2, 2, 0, 0], [0, 0, 4, 0], [4, 0, 0, 0]]
    assert tables["protocol"]["counts"] == [[4, 0, 0, 0], [0, 4, 0, 0], [0, 0, 4, 0], [4, 0, 0, 0]]
    assert tables["grade"] == contingency_table({"HGG": [4, 2, 2], "LGG": [4, 2, 2]}, 4)
    # H(experts) = 1.5 bits, of 8, 4 and 4 scans. Protocols: H = 2 bits and fix the expert, so NMI = 1.5 / 1.75.
    assert tables["protocol"]["nmi"] == pytest.approx(1.5 / 1.75)
    assert tables["site"]["nmi"] == pytest.approx(1.0 / 1.75)
    assert tables["grade"]["nmi"] == 0
    assert 0 < tables["grade"]["nmi_by_chance"] < tables["site"]["nmi_by_chance"] < 0.4


def test_the_unseen_site_is_far(routing):
    seen, unseen = routing["seen"], routing["unseen"]
    assert (seen["cases"], seen["far"], seen["far_share"], seen["median_distance"]) == (12, 0, 0, 0.5)
    assert (unseen["cases"], unseen["far"], unseen["far_share"], unseen["median_distance"]) == (4, 4, 1, 1.5)
    assert (unseen["largest_distance"], unseen["entropy"]) == (1.5, 0)
    assert routing["sites"]["site-1"]["entropy"] == 1
    assert routing["sites"]["site-5"] == {"role": "evaluate", **unseen}


def test_the_last_expert_is_dead_and_a_round_without_quorum_kills_nobody(routing):
    assert routing["experts"] == 4
    assert routing["dead"] == [3]
    # Round 3 had no quorum and is not counted; in round 2 site-1 was rejected, but site-2 has the same experts.
    assert (routing["dead_rounds"], routing["counted_rounds"]) == ([0, 0, 0, 5], 5)


def test_knock_out_is_the_mean_over_an_experts_cases_and_regions():
    sites = {
        "a": {"role": "train", "cases": [case(0, 0.0), case(0, 0.2), case(2, -0.1), case(1)]},
        "b": {"role": "evaluate", "cases": [case(1, 0.5, second_dice_ET=None)]},
    }
    found = knock_out(sites)
    assert list(found["sites"]) == ["a"]
    first, second = found["sites"]["a"]["experts"]
    assert (first["expert"], first["cases"], second["expert"], second["cases"]) == (0, 2, 2, 1)
    assert first["drop"] == pytest.approx({"TC": 0.4, "WT": 0.1, "ET": 0.1, "mean": 0.2})
    assert second["drop"] == pytest.approx({"TC": 0.2, "WT": -0.1, "ET": -0.1, "mean": 0.0})
    assert found["sites"]["a"]["cases"] == found["seen"]["cases"] == 3
    assert found["seen"]["drop"]["mean"] == pytest.approx(0.4 / 3)
    assert found["unseen"] is None


def test_cases_that_know_nothing_but_their_expert():
    assert routing_of([case(1), case(1), case(0, far=None)]) == {
        "cases": 3,
        "far": None,
        "far_share": None,
        "median_distance": None,
        "largest_distance": None,
        "entropy": pytest.approx(0.9182958340544896),
    }


def test_a_site_keeps_the_masses_of_its_own_last_accepted_round():
    rounds = [
        {"accepted": [{"site": "site-10", "expert_mass": [1, 2]}, {"site": "site-2", "expert_mass": [3, 0]}]},
        {"accepted": [{"site": "site-10", "expert_mass": [0, 3]}, {"site": "site-2"}]},
        {"accepted": []},
    ]
    assert training_masses(rounds) == {"site-2": [3, 0], "site-10": [0, 3]}


def test_agreement_of_the_last_merged_round_and_over_all_of_them(routing):
    def entry(agreement, outcome="merged"):
        return {"outcome": outcome, "experts": {"mass": [1, 1], "dead": [], "agreement": agreement}}

    older = {"outcome": "merged", "experts": {"mass": [1, 1], "dead": []}}
    rounds = [older, entry([0.5, None]), entry([0.25, -0.5]), entry([0.75, None]), entry([-1, -1], "no_quorum")]
    assert agreement_of_sites(rounds, 3) == [
        {"last": 0.75, "mean": 0.5, "rounds": 3},
        {"last": None, "mean": -0.5, "rounds": 1},
        {"last": None, "mean": None, "rounds": 0},
    ]
    assert agreement_of_sites([older, entry([None, None])], 2) is None
    assert agreement_of_sites([], 2) is None
    assert routing["agreement"] is None


def test_a_run_without_experts_has_no_routing_and_the_same_fields_as_before(tmp_path):
    run = write_run(tmp_path / "plain", {"site-1": "train"}, {FINAL_MODEL: 0}, pictures=False)
    report = build_report(read_run(run))
    assert "routing" not in report
    assert "expert_mass" not in report["sites"]["site-1"]
    assert "experts" not in report["rounds"][0]
    assert set(report["rounds"][0]["accepted"][0]) == {"site", "cases", "steps", "seconds", "norm"}
    assert "Which expert spoke" not in write_report(run).read_text()


def test_one_expert_is_no_routing(tmp_path):
    run = write_run(tmp_path / "one", {"site-1": "train"}, {FINAL_MODEL: 0}, pictures=False)
    change_cases(run, lambda found: found.update(expert=0, distance=0.5))
    assert routing_summary(read_run(run)) is None


def test_report_json_holds_the_summary_and_each_sites_masses(tmp_path):
    run = write_routed_run(tmp_path / "routed")
    write_report(run)
    report = json.loads((run / "report.json").read_text())
    assert report["routing"]["tables"]["site"]["counts"][2] == [0, 0, 4, 0]
    assert report["sites"]["site-3"]["expert_mass"] == [0, 0, 8, 0]
    assert "expert_mass" not in report["sites"]["site-5"]
    assert report["rounds"][0]["experts"] == {"mass": [8, 8, 8, 0], "dead": [3]}
    header = (run / "cases.csv").read_text().splitlines()[0].split(",")
    assert {"expert", "distance", "far", "second_expert", "second_dice_TC", "protocol", "grade"} <= {*header}


def change_cases(run, change) -> None:
    path = next(run.rglob("cross_val_results.json"))
    content = json.loads(path.read_text())
    for at_site in content.values():
        for found in at_site.values():
            for entry in found["cases"]:
                change(entry)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("expert", -1, "has -1 for expert"),
        ("expert", 10**9, "counted 0, 1, 2"),
        ("expert", "two", "'two' for expert"),
        ("second_expert", 1.5, "1.5 for second_expert"),
        ("distance", "near", "something else than a number for distance"),
        ("second_dice_WT", "x", "something else than a number for second_dice_WT"),
    ],
)
def test_a_case_with_a_damaged_expert_is_refused(tmp_path, name, value, sentence):
    run = write_routed_run(tmp_path / "run")
    change_cases(run, lambda found: found.update({name: value}))
    with pytest.raises(InputError, match=sentence):
        read_run(run)


@pytest.mark.parametrize("masses", ["[-1.0, 4.0]", "[NaN, 4.0]", '["a"]'])
def test_damaged_masses_are_refused(tmp_path, masses):
    run = write_routed_run(tmp_path / "run")
    path = next(run.rglob("ledger.json"))
    path.write_text(path.read_text().replace("[4.0, 4.0, 0.0, 0.0]", masses))
    with pytest.raises(InputError, match="expert_mass"):
        read_run(run)


@pytest.mark.parametrize("agreement", ["[2.0]", '["a"]', "0.5"])
def test_damaged_agreement_is_refused(tmp_path, agreement):
    run = write_routed_run(tmp_path / "run")
    path = next(run.rglob("ledger.json"))
    path.write_text(path.read_text().replace('"dead": [3]', f'"dead": [3], "agreement": {agreement}'))
    with pytest.raises(InputError, match="agreement"):
        read_run(run)


def test_an_unknown_distance_is_a_gap(tmp_path):
    run = write_routed_run(tmp_path / "run")
    change_cases(run, lambda found: found.update(distance=float("nan")))
    assert routing_summary(read_run(run))["seen"]["median_distance"] is None
    write_report(run)
