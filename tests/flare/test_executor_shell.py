# SPDX-License-Identifier: Apache-2.0
"""The executor as FLARE calls it: tasks in, replies out, never an exception, never a file name."""

from __future__ import annotations

import json
import shutil
import time
from types import SimpleNamespace

import numpy as np
import pytest
from nvflare.apis.analytix import ANALYTIC_EVENT_TYPE, AnalyticsData
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContextManager
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.app_constant import AppConstants
from nvflare.widgets.info_collector import GroupInfoCollector, InfoCollector

from fedpac_me import __version__
from fedpac_me.config import load_config
from fedpac_me.flare.error_reply import reason_of
from fedpac_me.flare.executor import FedPacMeExecutor
from fedpac_me.flare.site_context import STATES_FOLDER
from fedpac_me.learning.site import SCANS_FOLDER, Site
from fedpac_me.learning.trainer import Trainer
from fedpac_me.model.backbone import build_model, get_weights
from flare_tools import MARK


@pytest.fixture
def data(hospitals, tmp_path, monkeypatch):
    folder = shutil.copytree(hospitals, tmp_path / "data")
    monkeypatch.setenv("FEDPAC_ME_DATA", str(folder))
    return folder


class Client:
    """A site's executor and the FLARE around it."""

    def __init__(self, folder, config, job: str = "job", resumes: str | None = None) -> None:
        self.config = load_config(config)
        self.executor = FedPacMeExecutor(self.config.to_dict(), resumes=resumes)
        workspace = SimpleNamespace(
            get_root_dir=lambda: str(folder),
            get_run_dir=lambda job: str(folder),
            get_site_config_dir=lambda: str(folder / "kit"),
        )
        engine = SimpleNamespace(get_workspace=lambda: workspace, fire_event=lambda *args: None)
        self.fl_ctx = FLContextManager(engine, "site-1", job).new_context()

    def do(self, task: str = "train", weights=None, signal: Signal | None = None, number: int = 0) -> Shareable:
        if weights is None:
            weights = get_weights(build_model(self.config))
        shareable = DXO(DataKind.WEIGHTS, data=weights).to_shareable()
        shareable.set_header(AppConstants.CURRENT_ROUND, number)
        return self.executor.execute(task, shareable, self.fl_ctx, signal or Signal())


@pytest.fixture
def client(tmp_path, tiny_config, data) -> Client:
    return Client(tmp_path / "run", tiny_config)


def test_only_numpy_and_builtins_go_over_the_wire(client):
    dxo = from_shareable(client.do())
    assert DataKind(dxo.data_kind) is DataKind.WEIGHT_DIFF
    assert {(type(value), value.dtype.name) for value in dxo.data.values()} == {(np.ndarray, "float32")}
    json.dumps(dxo.meta)  # builtins only
    assert dxo.meta["cases"] == 2


def test_prepared_scans_go_with_the_job_and_the_sites_state_stays(client, tmp_path):
    client.do()
    folder = tmp_path / "run" / "fedpac_me"
    assert len(list((folder / SCANS_FOLDER).iterdir())) == 3  # two that train, one that validates
    client.executor.handle_event(EventType.END_RUN, client.fl_ctx)
    assert not (folder / SCANS_FOLDER).exists()
    assert [path.name for path in (tmp_path / "run" / STATES_FOLDER / "job").iterdir()] == ["state-0.pt"]


def test_states_lie_where_the_settings_say_and_a_job_that_goes_on_finds_them_there(client, data, tmp_path, tiny_config):
    (data / "site-1" / "site.json").write_text(json.dumps({"states": str(tmp_path / "states")}))
    client.do()
    kept = tmp_path / "states" / "site-1" / "job" / "state-0.pt"
    later = Client(tmp_path / "another run", tiny_config, job="later", resumes="job")
    later.do(number=1)
    assert {path.name for path in (kept.parents[1] / "later").iterdir()} == {"state-0.pt", "state-1.pt"}
    assert (kept.parents[1] / "later" / kept.name).read_bytes() == kept.read_bytes()


def test_a_named_cache_stays_and_serves_the_next_job(client, data, tmp_path, tiny_config):
    (data / "site-1" / "site.json").write_text(json.dumps({"cache": str(tmp_path / "kept")}))
    client.do()
    client.executor.handle_event(EventType.END_RUN, client.fl_ctx)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}
    assert len(kept) == 3
    assert not (tmp_path / "run" / "fedpac_me" / SCANS_FOLDER).exists()
    Client(tmp_path / "another run", tiny_config).do()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()} == kept


def test_an_abort_in_the_middle_of_training_is_answered_within_two_seconds(data, tmp_path, tiny_config, monkeypatch):
    """Training would go on for hours; the abort comes while a step is being computed."""
    config = tmp_path / "endless.json"
    content = json.loads(tiny_config.read_text())
    config.write_text(json.dumps({**content, "learning": {"steps_per_round": 100_000, "batch": 2}}))
    client, signal, asked = Client(tmp_path / "run", config), Signal(), []
    step = Trainer.step

    def aborted_during(self, batch, number):
        if number == 3:
            asked.append(time.monotonic())
            signal.trigger(True)
        return step(self, batch, number)

    monkeypatch.setattr(Trainer, "step", aborted_during)
    reply = client.do(signal=signal)
    assert reply.get_return_code() == ReturnCode.TASK_ABORTED
    assert time.monotonic() - asked[0] < 2 and len(asked) == 1


def test_an_evaluation_is_metrics(client):
    dxo = from_shareable(client.do("validate"))
    assert DataKind(dxo.data_kind) is DataKind.METRICS
    json.dumps(dxo.data)


def test_an_unknown_task_does_not_abort_the_job(client):
    assert client.do("dance").get_return_code() == ReturnCode.TASK_UNSUPPORTED


def test_a_job_of_other_code_is_refused_with_both_versions_before_data_is_read(client, tmp_path):
    client.executor = FedPacMeExecutor(client.config.to_dict(), {"version": "9.8.7", "hash": "0123456789ab"})
    reason = reason_of(client.do())
    assert "9.8.7" in reason and __version__ in reason
    assert not (tmp_path / "run" / "fedpac_me" / SCANS_FOLDER).exists()


def test_an_abort_is_answered_as_one(client):
    signal = Signal()
    signal.trigger(True)
    assert client.do(signal=signal).get_return_code() == ReturnCode.TASK_ABORTED


def test_bad_data_is_an_error_reply_and_the_file_name_stays_in_the_private_log(client, data, tmp_path):
    path = data / "site-1" / f"{MARK}_1_0" / f"{MARK}_1_0_t1.nii.gz"
    path.write_bytes(b"broken")
    reply = client.do()
    assert reply.get_return_code() == ReturnCode.EXECUTION_EXCEPTION
    assert "private.log" in reason_of(reply)
    assert MARK not in json.dumps(dict(reply), default=str)
    assert f"{MARK}_1_0_t1.nii.gz" in (tmp_path / "run/fedpac_me/private.log").read_text()


@pytest.mark.parametrize("task", ["style", "train", "validate", "submit_model"])
def test_an_error_that_nobody_expected_says_its_kind_and_its_words_stay(client, tmp_path, monkeypatch, caplog, task):
    def fail(*_, **__):
        raise RuntimeError(f"cannot map /data/{MARK}_1_0/{MARK}_1_0_t1.nii.gz")

    for name in ("answer", "train", "evaluate", "local_weights"):
        monkeypatch.setattr(Site, name, fail)
    reply = client.do(task)
    assert reason_of(reply) == "RuntimeError at the site; its own private.log says why"
    assert MARK not in json.dumps(dict(reply), default=str) + caplog.text + str(client.fl_ctx.props)
    assert "given up" in caplog.text
    assert f"{MARK}_1_0_t1.nii.gz" in (tmp_path / "run/fedpac_me/private.log").read_text()


def test_nan_in_the_received_model_is_refused_by_the_site(client):
    weights = get_weights(build_model(client.config))
    name = next(iter(weights))
    weights[name] = np.full_like(weights[name], np.nan)
    reply = client.do(weights=weights)
    assert reply.get_return_code() == ReturnCode.EXECUTION_EXCEPTION


def test_a_model_of_another_shape_is_an_error_reply(client):
    reply = client.do(weights={"a": np.zeros(3, np.float32)})
    assert reply.get_return_code() == ReturnCode.EXECUTION_EXCEPTION


def test_show_stats_shows_round_loss_and_dice(client):
    client.do()
    collector = GroupInfoCollector()
    client.fl_ctx.set_prop(InfoCollector.CTX_KEY_STATS_COLLECTOR, collector, private=True, sticky=False)
    client.executor.handle_event(InfoCollector.EVENT_TYPE_GET_STATS, client.fl_ctx)
    shown = collector.info["FedPAC-ME site"]
    assert (shown["round"], shown["site"], shown["role"]) == (0, "site-1", "train")
    assert {"train_loss", "dice_mean", "seconds", "bytes_up", "bytes_down"} <= shown.keys()


def test_every_figure_is_a_float_and_its_step_the_round_as_an_int(client):
    sent: list[AnalyticsData] = []

    def record(event: str, fl_ctx) -> None:
        if event == ANALYTIC_EVENT_TYPE:
            sent.append(AnalyticsData.from_dxo(from_shareable(fl_ctx.get_prop(FLContextKey.EVENT_DATA))))

    client.fl_ctx.get_engine().fire_event = record
    reply = from_shareable(client.do())
    assert {(type(figure.value), type(figure.step), figure.step) for figure in sent} == {(float, int, 0)}
    values = {figure.tag: figure.value for figure in sent}
    assert len(values) == len(sent)
    assert values["bytes_up"] == sum(value.nbytes for value in reply.data.values())
    assert values["dice_WT"] == reply.meta["metrics"]["dice_WT"]


def test_a_truncated_case_is_left_out_and_named_in_the_private_log_once(data, tmp_path, tiny_config):
    path = next((data / "site-1").glob(f"{MARK}_1_0/*_t2.nii.gz"))
    path.write_bytes(path.read_bytes()[:1000])
    config = tmp_path / "tolerant.json"
    content = json.loads(tiny_config.read_text())
    config.write_text(json.dumps({**content, "data": {**content["data"], "max_unusable": 0.5}}))
    client = Client(tmp_path / "run", config)
    for _ in range(2):
        dxo = from_shareable(client.do())
        assert (dxo.meta["cases"], dxo.meta["metrics"]["unusable_cases"]) == (1, 1.0)
        assert MARK not in json.dumps(dxo.meta)
    assert (tmp_path / "run/fedpac_me/private.log").read_text().count("Left out: ") == 1
    assert path.name in (tmp_path / "run/fedpac_me/private.log").read_text()


def test_memory_that_runs_out_is_an_error_reply_with_a_sentence(client, monkeypatch):
    monkeypatch.setattr(Trainer, "step", lambda *_: (_ for _ in ()).throw(MemoryError()))
    reply = client.do()
    assert reply.get_return_code() == ReturnCode.EXECUTION_EXCEPTION
    assert reason_of(reply).startswith("memory ran out") and "Lower data.crop" in reason_of(reply)


def test_an_empty_training_list_is_an_error_reply(client, data):
    ids = [path.name for path in (data / "site-1").iterdir() if path.is_dir()]
    (data / "site-1" / "splits.json").write_text(json.dumps({"train": [], "validation": ids[:1], "test": ids[1:]}))
    reply = client.do()
    assert reply.get_return_code() == ReturnCode.EXECUTION_EXCEPTION
    assert reason_of(reply) == "the site's data or settings are not usable; its own private.log says why"
