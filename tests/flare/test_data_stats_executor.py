# SPDX-License-Identifier: Apache-2.0
"""The statistics executor as FLARE calls it: replies, never an exception, never a file name, whatever goes wrong."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContextManager
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from fedpac_me.data_stats.subjects import draw_salt
from fedpac_me.flare import data_stats_executor
from fedpac_me.flare.data_stats_executor import TASK_SHARED, TASK_SUBJECTS, DataStatistics, DataStatisticsExecutor
from fedpac_me.flare.error_reply import reason_of
from flare_tools import MARK

CASES = 4


class Client:
    """A site's executor and the FLARE around it."""

    def __init__(self, folder, min_count: int) -> None:
        self.log = folder / "fedpac_me" / "private.log"
        self.executor = DataStatisticsExecutor("statistics", min_count)
        workspace = SimpleNamespace(
            get_run_dir=lambda job: str(folder), get_site_config_dir=lambda: str(folder / "kit")
        )
        components = {"statistics": DataStatistics()}
        engine = SimpleNamespace(
            get_workspace=lambda: workspace, get_component=components.get, fire_event=lambda *args: None
        )
        self.fl_ctx = FLContextManager(engine, "site-1", "job").new_context()
        self.executor.initialize(self.fl_ctx)

    def do(self, task: str, **message) -> Shareable:
        data = DXO(DataKind.APP_DEFINED, data=message).to_shareable()
        return self.executor.execute(task, data, self.fl_ctx, Signal())


@pytest.fixture
def data(hospitals, tmp_path, monkeypatch):
    folder = shutil.copytree(hospitals, tmp_path / "data")
    monkeypatch.setenv("FEDPAC_ME_DATA", str(folder))
    return folder


@pytest.fixture
def client(tmp_path, data) -> Client:
    return Client(tmp_path / "run", min_count=CASES)


def test_subjects_are_hashes_and_those_at_another_site_are_named_in_the_private_log(client):
    salt = draw_salt()
    subjects = from_shareable(client.do(TASK_SUBJECTS, salt=salt)).data["subjects"]
    assert [len(subject) for subject in subjects] == [4] * CASES
    assert MARK not in json.dumps(subjects)
    reply = client.do(TASK_SHARED, salt=salt, hashes=subjects[0][:1])
    assert from_shareable(reply).data == {}
    said = client.log.read_text()
    assert said.count("is at another site") == 1 and MARK in said


def test_a_site_with_too_few_cases_sends_no_hashes(tmp_path, data):
    reply = Client(tmp_path / "run", min_count=CASES + 1).do(TASK_SUBJECTS, salt=draw_salt())
    assert from_shareable(reply).data == {"subjects": []}


def test_bad_data_is_read_once_and_its_name_stays_in_the_private_log(client, data):
    shutil.rmtree(data / "site-1")
    (data / "site-1").mkdir()
    for _ in range(2):
        reply = client.do("fed_stats")
        assert reply.get_return_code() == ReturnCode.EXECUTION_EXCEPTION
        assert "its own private.log says why" in reason_of(reply)
        assert str(data) not in json.dumps(dict(reply), default=str)
    assert f"{data / 'site-1'} holds no cases" in client.log.read_text()


def test_a_defect_is_an_error_reply_without_its_words(client, monkeypatch, caplog):
    def read_site(*args):
        raise RuntimeError(f"{MARK} is odd")

    monkeypatch.setattr(data_stats_executor, "read_site", read_site)
    reply = client.do("fed_stats")
    assert reason_of(reply) == "RuntimeError at the site; its own private.log says why"
    assert MARK in client.log.read_text() and MARK not in caplog.text


@pytest.mark.parametrize("salt", [None, "no digits", {}])
def test_a_message_that_is_none_is_an_error_reply(client, salt):
    reply = client.do(TASK_SUBJECTS, salt=salt)
    assert reply.get_return_code() == ReturnCode.EXECUTION_EXCEPTION


def test_an_unknown_task_is_an_error_reply(client):
    assert client.do("dance").get_return_code() == ReturnCode.EXECUTION_RESULT_ERROR
