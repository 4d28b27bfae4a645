# SPDX-License-Identifier: Apache-2.0
"""Means over cases, sites and local models, with answers worked out in the test."""

import json

import pytest

from fedpac_me.evaluation.summary import site_order, summarise_local, summarise_run, summarise_site
from fedpac_me.labels import REGIONS


def case(dice: float, truth_voxels: int = 10, **changes: float) -> dict[str, float]:
    """A case with the same Dice in every region."""
    found = {"voxel_accuracy": 0.9, "null_voxel_accuracy": 0.8}
    for region in REGIONS:
        found[f"dice_{region}"] = dice
        found[f"hd95_{region}"] = 10 * (1 - dice)
        found[f"truth_voxels_{region}"] = truth_voxels
        found[f"null_dice_{region}"] = float(truth_voxels == 0)
    return found | changes


def test_a_site_is_the_mean_of_its_cases():
    no_enhancing = {"dice_ET": 1.0, "truth_voxels_ET": 0, "null_dice_ET": 1.0}
    summary = summarise_site("train", [case(0.5), case(0.7, **no_enhancing)])
    assert summary["role"] == "train"
    assert summary["cases"] == 2
    assert summary["dice"] == pytest.approx({"TC": 0.6, "WT": 0.6, "ET": 0.75, "mean": 0.65})
    assert summary["dice_nonempty"] == pytest.approx({"TC": 0.6, "WT": 0.6, "ET": 0.5, "mean": 1.7 / 3})
    assert summary["hd95"]["TC"] == pytest.approx(4.0)
    assert summary["voxel_accuracy"] == 0.9
    assert summary["null_predictor"]["dice"] == pytest.approx({"TC": 0, "WT": 0, "ET": 0.5, "mean": 0.5 / 3})
    assert summary["null_predictor"]["voxel_accuracy"] == 0.8


def test_a_region_that_no_truth_has_is_none_and_not_nan():
    summary = summarise_site("train", [case(1.0, truth_voxels=0)])
    assert summary["dice_nonempty"] == {"TC": None, "WT": None, "ET": None, "mean": None}
    assert summary["dice"]["mean"] == 1.0
    json.dumps(summary, allow_nan=False)


def test_an_unknown_score_makes_the_mean_unknown_instead_of_kinder():
    summary = summarise_site("train", [case(0.9), case(0.1, dice_ET=float("nan"))])
    assert summary["dice"]["ET"] is None
    assert summary["dice"]["TC"] == 0.5


def test_no_case_at_all_is_none_everywhere():
    assert summarise_site("train", [])["dice"] == {"TC": None, "WT": None, "ET": None, "mean": None}


def test_a_run_weighs_sites_alike_and_names_the_worst():
    run = summarise_run(
        {
            "site-10": {"role": "train", "cases": [case(0.2)]},
            "site-2": {"role": "train", "cases": [case(0.8), case(0.8), case(0.8)]},
            "pooled": {"role": "train", "cases": []},
            "site-3": {"role": "evaluate", "cases": [case(0.1)]},
        }
    )
    assert list(run["sites"]) == ["site-2", "site-3", "site-10"]
    assert run["mean"]["dice"]["mean"] == pytest.approx(0.5)
    assert (run["mean"]["sites"], run["mean"]["cases"]) == (2, 4)
    assert run["worst_site"]["site"] == "site-10"
    assert run["worst_site"]["dice"]["mean"] == pytest.approx(0.2)
    assert run["unseen"]["dice"]["mean"] == pytest.approx(0.1)


def test_a_run_without_trained_or_unseen_sites():
    only_unseen = summarise_run({"a": {"role": "evaluate", "cases": [case(0.4)]}})
    assert only_unseen["mean"] is None
    assert only_unseen["worst_site"] is None
    assert summarise_run({"a": {"role": "train", "cases": [case(0.4)]}})["unseen"] is None
    assert summarise_run({})["sites"] == {}


def test_sites_that_lack_a_figure_do_not_spoil_the_mean_of_the_others():
    run = summarise_run(
        {
            "a": {"role": "train", "cases": [case(0.4)]},
            "b": {"role": "train", "cases": [case(1.0, truth_voxels=0)]},
        }
    )
    assert run["mean"]["dice_nonempty"]["mean"] == pytest.approx(0.4)
    assert run["mean"]["dice"]["mean"] == pytest.approx(0.7)


def test_local_models_are_judged_at_home_and_on_average_where_nobody_trained():
    def at(dice: float, role: str) -> dict:
        return {"role": role, "cases": [case(dice), case(dice)]}

    run = summarise_local(
        {
            "a": {"a": at(0.9, "train"), "b": at(0.1, "train"), "c": at(0.2, "evaluate")},
            "b": {"a": at(0.3, "train"), "b": at(0.5, "train"), "c": at(0.6, "evaluate")},
        }
    )
    means = {site: summary["dice"]["mean"] for site, summary in run["sites"].items()}
    assert means == pytest.approx({"a": 0.9, "b": 0.5, "c": 0.4})
    assert run["sites"]["c"]["cases"] == 2
    assert run["unseen"]["dice"]["mean"] == pytest.approx(0.4)


def test_a_site_without_its_own_model_is_left_out():
    assert summarise_local({"a": {"b": {"role": "train", "cases": [case(0.5)]}}})["sites"] == {}


def test_sites_are_ordered_by_their_numbers():
    assert sorted(["site-10", "b", "site-2", "a", "7"], key=site_order) == ["7", "a", "b", "site-2", "site-10"]
