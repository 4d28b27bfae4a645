# SPDX-License-Identifier: Apache-2.0
"""Pair-matching accuracy of vectors whose angles are known, and of a site that was asked for it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from made_up_run import write_run

from cases import write_case
from fedpac_me.config import parse_config
from fedpac_me.data.layouts import find_case
from fedpac_me.data.scan import load_scan
from fedpac_me.data.site import folder_settings
from fedpac_me.evaluation.pair_matching import PAIR_MATCHING, PAIR_MATCHING_DEFINITION, pair_matching_accuracy
from fedpac_me.evaluation.report import write_report
from fedpac_me.evaluation.run_record import FINAL_MODEL
from fedpac_me.learning.encoding import encode_scan
from fedpac_me.learning.site import Site
from fedpac_me.model.backbone import build_model, get_weights
from fedpac_me.storage import read_json

TINY = {
    "method": "m",
    "title": "t",
    "data": {"crop": 16},
    "model": {"filters": 4, "blocks_down": [1, 1, 1], "blocks_up": [1, 1]},
    "federation": {"rounds": 1},
}


def at(degrees: float, length: float = 1.0) -> np.ndarray:
    return length * np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))], np.float32)


def test_scans_that_look_like_themselves_and_not_like_the_next_are_told_apart():
    vectors = [at(0), at(60, 5), at(120)]
    assert pair_matching_accuracy(vectors, vectors) == [1.0, 1.0, 1.0]


def test_a_network_to_which_all_scans_look_the_same_still_gets_half():
    vectors = [at(0), at(1, 3), at(2)]
    assert pair_matching_accuracy(vectors, vectors) == [0.5, 0.5, 0.5]


def test_a_scan_that_looks_different_the_second_time_loses_its_pair():
    """acos(.99) is 8.1 degrees. The last scan is compared with the first."""
    assert pair_matching_accuracy([at(0), at(90)], [at(9), at(90)]) == [0.5, 1.0]
    assert pair_matching_accuracy([at(0), at(90)], [at(8), at(90)]) == [1.0, 1.0]
    assert pair_matching_accuracy([at(0), at(1), at(90)], [at(20)] * 3) == [0.0, 0.5, 0.5]
    assert pair_matching_accuracy([at(0), at(90)], [at(9), at(90)], threshold=0.9) == [1.0, 1.0]


def test_without_a_second_scan_or_without_a_direction_it_is_unknown():
    assert pair_matching_accuracy([], []) == []
    assert pair_matching_accuracy([at(0)], [at(0)]) == [None]
    for nothing in (at(45, 0.0), at(45, np.nan), at(45, np.inf)):
        vectors = [at(0), nothing, at(90)]
        assert pair_matching_accuracy(vectors, vectors) == [None, None, 1.0]


def test_a_scan_of_any_size_becomes_one_vector_that_depends_on_what_is_seen(tmp_path):
    config, model = parse_config(TINY), build_model(parse_config(TINY))
    scans = [
        load_scan(find_case(write_case(tmp_path, f"Case_{seed}", edge=edge, seed=seed)), 1)
        for seed, edge in enumerate((21, 24))
    ]
    first, again, other = (
        encode_scan(model, scan, config, torch.device("cpu"), None) for scan in (scans[0], scans[0], scans[1])
    )
    assert first.shape == (8,) and first.dtype == np.float32
    assert np.array_equal(first, again) and not np.allclose(first, other)


@pytest.fixture
def evaluated(site_folder, tmp_path):
    """What a site with three test cases says, by whether it was asked for pair-matching accuracy."""
    folder = site_folder(cases=4)
    ids = sorted(path.name for path in folder.iterdir())
    (folder / "splits.json").write_text(json.dumps({"train": ids[:1], "test": ids[1:]}))

    def answer(asked: bool) -> dict:
        config = parse_config(TINY | {"evaluation": {"pair_matching": asked}})
        site = Site("site-1", config, folder_settings(folder), tmp_path / "state")
        return site.evaluate(get_weights(build_model(config)), "final")

    return answer


def test_a_site_reports_it_when_it_is_asked_to_and_changes_nothing_else(evaluated):
    plain, asked = evaluated(False), evaluated(True)
    assert not any(PAIR_MATCHING in row for row in plain["cases"])
    assert [row[PAIR_MATCHING] in (0.5, 1.0) for row in asked["cases"]] == [True] * 3
    for one, other in zip(plain["cases"], asked["cases"], strict=True):
        assert one | {"seconds": 0} == {key: other[key] for key in one} | {"seconds": 0}
    assert "Case_" not in json.dumps(asked)


def test_the_report_names_it_and_says_what_it_is_not(tmp_path):
    sites = {"site-1": "train", "site-5": "evaluate"}
    run = write_run(tmp_path / "run", sites, {FINAL_MODEL: 1}, pictures=False)
    assert "Pair-matching" not in write_report(run).read_text()
    (path,) = run.rglob("cross_val_results.json")
    content = json.loads(path.read_text())
    for case, score in zip(content["site-1"][FINAL_MODEL]["cases"], (0.5, 1.0), strict=True):
        case[PAIR_MATCHING] = score
    path.write_text(json.dumps(content))
    text = write_report(run).read_text()
    assert ">Pair-matching accuracy</h3>" in text and "It is no segmentation result" in text
    assert PAIR_MATCHING_DEFINITION.split(".")[0].split("'")[1] in text
    report = read_json(run / "report.json")
    assert report["sites"]["site-1"][PAIR_MATCHING] == report["mean"][PAIR_MATCHING] == 0.75
    assert report["sites"]["site-5"][PAIR_MATCHING] is report["unseen"][PAIR_MATCHING] is None
