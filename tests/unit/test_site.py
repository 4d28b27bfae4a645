# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest
import torch

from fedpac_me.config import parse_config
from fedpac_me.data.layouts import find_cases
from fedpac_me.data.site import folder_settings
from fedpac_me.errors import InputError
from fedpac_me.federation.schema import Schema
from fedpac_me.federation.update import Contribution, check
from fedpac_me.learning.device import choose_device
from fedpac_me.learning.site import Site
from fedpac_me.learning.trainer import TrainingStopped
from fedpac_me.model.backbone import build_model, get_weights

TINY = {
    "method": "m",
    "title": "t",
    "data": {"crop": 16},
    "model": {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1]},
    "learning": {"steps_per_round": 2},
    "federation": {"rounds": 2},
}


def open_site(folder, state, **config) -> Site:
    return Site("site-1", parse_config({**TINY, **config}), folder_settings(folder), state)


def first_weights() -> dict[str, np.ndarray]:
    return get_weights(build_model(parse_config(TINY)))


def as_bytes(weights) -> bytes:
    return b"".join(weights[name].tobytes() for name in sorted(weights))


def test_an_update_keeps_the_wire_contract(split_site, tmp_path):
    weights = first_weights()
    update = open_site(split_site, tmp_path).train(weights, 0)
    verdict = check(Schema.learn(weights), Contribution("site-1", "WEIGHT_DIFF", 0, update.diff, update.meta), 0, ())
    assert verdict.ok, verdict.reason
    assert (verdict.cases, verdict.steps) == (2, 2)
    assert {"train_loss", "dice_TC", "dice_WT", "dice_ET", "dice_mean"} == set(verdict.metrics)
    assert verdict.norm > 0


def test_a_rebuilt_site_goes_on_exactly_where_the_old_one_stopped(split_site, tmp_path):
    weights = first_weights()
    lasting = open_site(split_site, tmp_path / "a")
    diffs = [as_bytes(lasting.train(weights, number).diff) for number in (0, 1)]
    rebuilt = [as_bytes(open_site(split_site, tmp_path / "b").train(weights, number).diff) for number in (0, 1)]
    assert diffs == rebuilt
    assert diffs[0] != diffs[1]


def test_a_round_given_twice_is_answered_twice_the_same(split_site, tmp_path):
    weights = first_weights()
    site = open_site(split_site, tmp_path)
    for number in (0, 1, 2):
        first = as_bytes(site.train(weights, number).diff)
        assert as_bytes(site.train(weights, number).diff) == first
        assert as_bytes(open_site(split_site, tmp_path).train(weights, number).diff) == first
    assert sorted(path.name for path in tmp_path.glob("state-*.pt")) == ["state-0.pt", "state-1.pt", "state-2.pt"]


def test_a_site_that_only_evaluates_abstains_and_still_validates(split_site, tmp_path):
    (split_site / "site.json").write_text('{"role": "evaluate"}')
    update = open_site(split_site, tmp_path).train(first_weights(), 0)
    assert update.diff == {}
    assert update.meta["abstained"] is True
    assert "dice_mean" in update.meta["metrics"]
    assert "train_loss" not in update.meta["metrics"]


def test_where_nothing_is_shared_a_site_goes_on_with_its_own_model(split_site, tmp_path):
    weights = first_weights()
    config = {"federation": {"rounds": 2, "share": "nothing", "quorum": 0}}
    site = open_site(split_site, tmp_path, **config)
    assert site.local_weights() is None
    assert site.train(weights, 0).meta["abstained"] is True
    after_one = site.local_weights()
    open_site(split_site, tmp_path, **config).train(weights, 1)
    assert as_bytes(site.local_weights()) != as_bytes(after_one) != as_bytes(weights)


def test_an_evaluation_holds_metrics_by_ordinal_and_no_patient(split_site, tmp_path):
    result = open_site(split_site, tmp_path).evaluate(first_weights(), "final")
    assert result["role"] == "train"
    assert [row["case"] for row in result["cases"]] == [1]
    assert 0 <= result["cases"][0]["dice_WT"] <= 1
    assert "Case" not in json.dumps(result)
    assert (tmp_path / "pictures" / "final.png").is_file()


def test_a_pooled_site_trains_in_pooled_runs_only_and_leaves_the_test_to_the_hospitals(split_site, tmp_path):
    (split_site / "site.json").write_text('{"role": "pooled"}')
    assert open_site(split_site, tmp_path, pooled=True).train(first_weights(), 0).diff
    assert not open_site(split_site, tmp_path).train(first_weights(), 0).diff
    assert open_site(split_site, tmp_path, pooled=True).evaluate(first_weights(), "final")["cases"] == []


def test_an_aborted_round_leaves_no_state(split_site, tmp_path):
    with pytest.raises(TrainingStopped):
        open_site(split_site, tmp_path).train(first_weights(), 0, should_stop=lambda: True)
    assert not list(tmp_path.glob("state-*.pt"))


def test_a_training_site_without_training_cases_is_refused(split_site, tmp_path):
    ids = [case.id for case in find_cases([split_site])]
    (split_site / "splits.json").write_text(json.dumps({"test": ids}))
    with pytest.raises(InputError, match="no training cases"):
        open_site(split_site, tmp_path)


def test_a_damaged_state_file_is_refused(split_site, tmp_path):
    (tmp_path / "state-0.pt").write_bytes(b"not a state")
    with pytest.raises(InputError, match="state file"):
        open_site(split_site, tmp_path).train(first_weights(), 1)


def test_the_device_is_the_one_asked_for_or_a_sentence():
    assert choose_device("cpu") == torch.device("cpu")
    for wrong in ("warp", "cuda:99"):
        with pytest.raises(InputError, match="cannot be used"):
            choose_device(wrong)
