# SPDX-License-Identifier: Apache-2.0
"""MLflow beside TensorBoard: only where it is asked for, and a sentence where it is not installed."""

from __future__ import annotations

import json

import pytest
from nvflare.apis.analytix import AnalyticsDataType
from nvflare.apis.dxo import from_shareable
from nvflare.apis.fl_context import FLContext
from nvflare.apis.utils.analytix_utils import create_analytic_dxo

from fedpac_me.config import load_config
from fedpac_me.flare import tracking
from fedpac_me.flare.recipe import FedPacMeRecipe

NEEDS = "mlflow is not installed, which this project does without; `pip install mlflow` to run this test"


def receivers(job) -> list[str]:
    """The names of the components that receive figures, in an exported job."""
    server = json.loads((job / "app" / "config" / "config_fed_server.json").read_text())
    return [part["id"] for part in server["components"] if part["id"] in ("tensorboard", "mlflow")]


def test_a_job_holds_no_mlflow_unless_it_is_asked_for(tiny_config, tmp_path):
    FedPacMeRecipe(load_config(tiny_config), "plain").export(str(tmp_path))
    assert receivers(tmp_path / "plain") == ["tensorboard"]


@pytest.mark.parametrize("words", [[], ["--export"]])
def test_without_mlflow_the_command_says_so_before_it_replaces_a_run(
    train_module, tiny_config, hospitals, tmp_path, monkeypatch, capsys, words
):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    kept = tmp_path / "tiny" / "report.html"
    kept.parent.mkdir()
    kept.write_text("an earlier run")
    options = ["--data", str(hospitals), "--runs", str(tmp_path), "--replace", "--mlflow", "http://localhost:5000"]
    assert train_module.main(["--config", str(tiny_config), *options, *words]) == 2
    assert "--mlflow needs the package mlflow" in capsys.readouterr().err
    assert kept.read_text() == "an earlier run"


@pytest.mark.parametrize("uri", ["mlruns", "sqlite:///relative.db", "http://", ""])
def test_what_is_no_tracking_uri_is_refused(train_module, tiny_config, monkeypatch, capsys, uri):
    monkeypatch.setattr(tracking, "find_spec", lambda name: "found")
    assert train_module.main(["--config", str(tiny_config), "--export", "--mlflow", uri]) == 2
    assert "wants a tracking URI such as" in capsys.readouterr().err


def test_after_a_figure_that_mlflow_does_not_take_the_round_does_not_wait_for_its_others(monkeypatch):
    pytest.importorskip("mlflow", reason=NEEDS)
    from fedpac_me.flare import mlflow_receiver

    tried: list[int] = []

    def fail(self, fl_ctx, shareable, record_origin) -> None:
        tried.append(from_shareable(shareable).data["global_step"])
        raise ConnectionError("no answer")

    monkeypatch.setattr(mlflow_receiver.MLflowReceiver, "save", fail)
    receiver = mlflow_receiver.SitesAndServerMLflowReceiver("http://tracking.example:5000")
    receiver.run_ids["site-1"] = "a run"
    for step in (0, 0, 1, 1, 1, 2):
        figure = create_analytic_dxo("loss", 1.0, AnalyticsDataType.SCALAR, global_step=step).to_shareable()
        receiver.save(FLContext(), figure, "a site that joined later")
        try:
            receiver.save(FLContext(), figure, "site-1")
        except ConnectionError:
            continue  # FLARE logs it
    assert tried == [0, 1, 2]


@pytest.fixture(scope="module")
def tracked(train_module, tiny_config, hospitals, tmp_path_factory):
    """The metrics of every MLflow run of a simulation, by the name of the site or server and the metric."""
    mlflow = pytest.importorskip("mlflow", reason=NEEDS)
    place = tmp_path_factory.mktemp("tracked")
    uri = f"sqlite:///{place / 'mlflow.db'}"
    words = ["--config", tiny_config, "--data", hospitals, "--runs", place, "--mlflow", uri]
    assert train_module.main([str(word) for word in words]) == 0
    client = mlflow.MlflowClient(tracking_uri=uri)
    (experiment,) = [found for found in client.search_experiments() if found.name == "FedPAC-ME"]
    return {
        run.info.run_name: {
            name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        }
        for run in client.search_runs([experiment.experiment_id])
    }, json.loads(next(place.rglob("ledger.json")).read_text())


def test_mlflow_gets_a_run_for_every_site_and_the_server_by_round(tracked):
    runs, ledger = tracked
    by_name = {name.rpartition("-tiny-")[0].rpartition("-")[0]: metrics for name, metrics in runs.items()}
    assert by_name.keys() == {"site-1", "site-2", "site-3", "server"}
    for metrics in by_name.values():
        assert all([step for step, _ in points] == [0, 1] for points in metrics.values())
    assert {"train_loss", "dice_WT", "bytes_up", "seconds"} <= by_name["site-1"].keys()
    assert {"accepted", "mean_dice_mean", "bytes_down"} <= by_name["server"].keys()
    losses = [entry["metrics"]["site-1"]["train_loss"] for entry in ledger["rounds"]]
    assert [value for _, value in by_name["site-1"]["train_loss"]] == pytest.approx(losses)
