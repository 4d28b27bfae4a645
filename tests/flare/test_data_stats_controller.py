# SPDX-License-Identifier: Apache-2.0
"""The controller of the data statistics with answers that are none, without processes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import make_reply
from nvflare.app_common.abstract.statistics_spec import Bin, Histogram, HistogramType
from nvflare.app_common.app_constant import StatisticsConstants as StC
from nvflare.app_common.statistics.statisitcs_objects_decomposer import fobs_registration
from nvflare.fuel.utils import fobs

from fedpac_me.flare.data_stats_controller import DataStatisticsController
from fedpac_me.flare.error_reply import error_reply

fobs_registration()
FIRST = StC.STATS_1st_STATISTICS


@pytest.fixture
def controller(monkeypatch) -> DataStatisticsController:
    """With what it would end the job with in ``said``."""
    controller = DataStatisticsController({"count": {}}, "writer", {"min_count": 10})
    controller.said = []
    monkeypatch.setattr(controller, "system_panic", lambda reason, fl_ctx: controller.said.append(reason))
    return controller


def answer(statistics, task=FIRST):
    return DXO(DataKind.STATISTICS, data={StC.STATISTICS_TASK_KEY: task, task: fobs.dumps(statistics)}).to_shareable()


def receive(controller, site, result):
    task = SimpleNamespace(name="fed_stats", props={StC.STATISTICS_TASK_KEY: FIRST})
    controller.results_cb(SimpleNamespace(client=SimpleNamespace(name=site), task=task, result=result), FLContext())


def histogram(*bins):
    return {
        "count": {"cases": {"cases": 12, "t1_raw": 12}},
        "histogram": {"cases": {"t1_raw": Histogram(HistogramType.STANDARD, [Bin(*each) for each in bins])}},
    }


def test_good_answers_are_taken(controller):
    receive(controller, "site-1", answer(histogram((0.0, 1.0, 2.5))))
    assert controller.client_statistics["count"] == {"site-1": {"cases": {"cases": 12, "t1_raw": 12}}}
    assert controller._silent == {}


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (answer({"count": {"cases": {"cases": "many"}}}), "its count holds something else than finite numbers"),
        (answer({"mean": {"cases": {"WT": float("nan")}}}), "its mean holds something else than finite numbers"),
        (answer({"count": {"cases": {"PatientZero": 1}}}), "it holds something that was not asked for"),
        (answer({"quantile": {"cases": {}}}), "it holds something that was not asked for"),
        (answer({"sum": {"cases": {"WT": 2.0}}}), "its sum is of something that it has no cases of"),
        (answer({"count": {"cases": {"WT": 0}}}), "its count is of something that it has no cases of"),
        (answer({"count": {"other": {}}}), "it holds something that was not asked for"),
        (answer({"histogram": {"cases": {"t1_raw": 3}}}), "its histogram holds something else than finite numbers"),
        (answer(histogram((0.0, float("inf"), 1.0))), "its histogram holds something else than finite numbers"),
        (answer({}, StC.STATS_2nd_STATISTICS), f"it answered another task than {FIRST}"),
        (answer([]), "AttributeError in its answer"),
        (make_reply(ReturnCode.OK), "in its answer"),
        (make_reply(ReturnCode.TASK_RESULT_FILTER_ERROR), "the site answered TASK_RESULT_FILTER_ERROR"),
        (error_reply("no disk"), "no disk"),
    ],
)
def test_an_answer_that_is_none_is_left_out_and_the_job_goes_on(controller, result, reason):
    receive(controller, "site-1", answer({"count": {"cases": {"cases": 12}}}))
    receive(controller, "site-2", result)
    assert reason in controller._silent["site-2"]
    assert "site-2" not in controller.client_statistics["count"]
    assert controller.said == []


def test_a_federation_with_nothing_to_show_ends_with_a_sentence(controller):
    receive(controller, "site-1", answer({"count": {"cases": {}}}))
    receive(controller, "site-2", error_reply("no disk"))
    controller.post_fn("fed_stats", FLContext())
    assert controller.said == [
        "No site has statistics to show: its data cannot be used, or it has fewer than 10 cases, the minimum count. "
        "site-2: no disk."
    ]
