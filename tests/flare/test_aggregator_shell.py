# SPDX-License-Identifier: Apache-2.0
"""The aggregator as FLARE calls it: real contexts, shareables and DXOs, no processes."""

from __future__ import annotations

import json

import pytest
from nvflare.apis.dxo import from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType
from nvflare.widgets.info_collector import GroupInfoCollector, InfoCollector

from fedpac_me.flare.error_reply import error_reply
from fedpac_me.flare.selector import BestModelSelector
from flare_server import Server, model


@pytest.fixture
def server(tmp_path) -> Server:
    return Server(tmp_path)


def test_the_model_becomes_the_mean_by_number_of_cases(server):
    assert server.send("site-1", 1.0, cases=3)
    assert server.send("site-2", 5.0, cases=1)
    merged = server.close()
    assert merged["a"].tolist() == [[12, 12], [12, 12]]
    assert merged["b"].tolist() == [2, 2, 2]


def test_a_refused_update_changes_nothing_and_is_in_the_ledger(server, tmp_path):
    server.send("site-1", 1.0)
    assert not server.send("site-2", float("nan"))
    assert not server.send("site-3", 1.0, number=7)
    assert not server.send("site-1", 9.0)
    assert server.close()["a"].tolist() == [[11, 11], [11, 11]]
    (entry,) = json.loads((tmp_path / "fedpac_me/ledger.json").read_text())["rounds"]
    reasons = {line["site"]: line["reason"] for line in entry["rejected"]}
    assert set(reasons) == {"site-1", "site-2", "site-3"}
    assert "finite" in reasons["site-2"]


@pytest.mark.parametrize("shareable", [Shareable(), make_reply(ReturnCode.OK)])
def test_what_is_no_update_at_all_is_refused_without_an_exception(server, shareable):
    assert server.aggregator.accept(shareable, server.context("site-1")) is False
    assert server.close()["a"].tolist() == model()["a"].tolist()


def test_without_quorum_the_model_is_held(tmp_path):
    server = Server(tmp_path, quorum=2)
    server.send("site-1", 1.0)
    assert server.close()["a"].tolist() == model()["a"].tolist()


def test_an_error_reply_is_in_the_ledger_with_its_sentence(server, tmp_path):
    fl_ctx = server.context("site-2")
    fl_ctx.set_prop(FLContextKey.TASK_NAME, AppConstants.TASK_TRAIN, private=True, sticky=False)
    fl_ctx.set_prop(FLContextKey.TASK_RESULT, error_reply("no data folder"), private=True, sticky=False)
    server.tell(EventType.BEFORE_PROCESS_SUBMISSION, fl_ctx)
    server.close()
    (entry,) = json.loads((tmp_path / "fedpac_me/ledger.json").read_text())["rounds"]
    assert entry["rejected"] == [{"site": "site-2", "reason": "no data folder"}]


def test_a_flag_is_in_the_ledger_and_in_the_log(tmp_path, monkeypatch):
    server = Server(tmp_path, clip_norm_factor=3.0, clip_norm_first=1.0)
    said: list[str] = []
    monkeypatch.setattr(server.aggregator, "log_info", lambda fl_ctx, text: said.append(text))
    assert server.send("site-1", 0.1)
    assert server.send("site-2", 100.0)
    assert server.close()["b"].tolist() == pytest.approx([(0.1 + 1 / 7**0.5) / 2] * 3)
    (entry,) = json.loads((tmp_path / "fedpac_me/ledger.json").read_text())["rounds"]
    assert [line.get("flags") for line in entry["accepted"]] == [None, ["weights 264.6 long, cut to the bound 1"]]
    assert said == ["Update of site-2 in round 0: weights 264.6 long, cut to the bound 1"]


def test_show_stats_shows_round_verdicts_and_dice(server):
    server.send("site-1", 1.0, metrics={"dice_mean": 0.5, "train_loss": 0.3})
    server.send("site-2", float("inf"))
    collector = GroupInfoCollector()
    fl_ctx = server.context()
    fl_ctx.set_prop(InfoCollector.CTX_KEY_STATS_COLLECTOR, collector, private=True, sticky=False)
    server.tell(InfoCollector.EVENT_TYPE_GET_STATS, fl_ctx)
    shown = collector.info["FedPAC-ME"]
    assert (shown["round"], shown["accepted"], shown["rejected"]) == (0, 1, 1)
    assert (shown["mean_dice_mean"], shown["mean_train_loss"]) == (0.5, 0.3)


def test_a_round_that_cannot_be_written_down_is_still_merged(server, tmp_path):
    (tmp_path / "fedpac_me").write_text("a file where the ledger's folder should be")
    server.send("site-1", 1.0)
    assert server.close()["a"].tolist() == [[11, 11], [11, 11]]


def test_the_answer_survives_flares_serialisation(server):
    from nvflare.app_common.decomposers.numpy_decomposers import NumpyArrayDecomposer
    from nvflare.fuel.utils import fobs

    fobs.register(NumpyArrayDecomposer)
    server.send("site-1", 1.0)
    answer = from_shareable(fobs.loads(fobs.dumps(server.aggregator.aggregate(server.context()))))
    assert answer.data["b"].tolist() == [1, 1, 1]
    assert answer.meta["outcome"] == "merged"


def test_after_too_many_failed_rounds_the_job_stops_with_a_sentence(tmp_path, monkeypatch):
    server = Server(tmp_path, quorum=1, abort_after_failed_rounds=2)
    stops: list[str] = []
    monkeypatch.setattr(server.aggregator, "system_panic", lambda reason, fl_ctx: stops.append(reason))
    server.close()
    assert stops == []
    server.number = 1
    server.tell(AppEventType.ROUND_STARTED, server.context())
    server.close()
    assert len(stops) == 1 and stops[0].startswith("2 rounds in a row")


def test_the_best_model_is_chosen_by_accepted_sites_only(tmp_path, monkeypatch):
    server = Server(tmp_path, number=1)
    server.send("site-1", 1.0, metrics={"dice_mean": 0.4})
    server.send("site-2", 1.0, metrics={"dice_mean": 0.6})
    server.send("site-3", float("nan"), metrics={"dice_mean": 1.0})
    selector = BestModelSelector()
    fired: list[str] = []
    monkeypatch.setattr(selector, "fire_event", lambda event, fl_ctx: fired.append(event))
    selector.handle_event(AppEventType.BEFORE_CONTRIBUTION_ACCEPT, server.context("site-3"))
    selector.handle_event(AppEventType.BEFORE_AGGREGATION, server.context())
    assert selector.best_val_metric == pytest.approx(0.5)
    assert fired == [AppEventType.GLOBAL_BEST_MODEL_AVAILABLE]


def test_show_stats_still_has_loss_and_dice_when_the_next_round_has_just_begun(tmp_path):
    server = Server(tmp_path)
    server.send("site-1", 1.0, metrics={"dice_mean": 0.25, "train_loss": 1.0})
    server.send("site-2", 1.0, metrics={"dice_mean": 0.75, "train_loss": 2.0})
    server.close()
    server.number = 1
    server.tell(AppEventType.ROUND_STARTED, server.context())
    server.send("site-1", 1.0, metrics={"train_loss": 0.5})
    server.close()
    server.number = 2
    fl_ctx, collector = server.context(), GroupInfoCollector()
    server.tell(AppEventType.ROUND_STARTED, fl_ctx)
    fl_ctx.set_prop(InfoCollector.CTX_KEY_STATS_COLLECTOR, collector, private=True, sticky=False)
    server.tell(InfoCollector.EVENT_TYPE_GET_STATS, fl_ctx)
    shown = collector.info["FedPAC-ME"]
    assert (shown["round"], shown["loss"], shown["dice"]) == (2, 0.5, 0.5)
