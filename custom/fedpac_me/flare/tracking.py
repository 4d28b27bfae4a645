# SPDX-License-Identifier: Apache-2.0
"""Who receives the figures of a job's rounds at the server: TensorBoard always, MLflow where it is asked for."""

from __future__ import annotations

from importlib.util import find_spec

from nvflare.app_opt.tracking.tb.tb_receiver import TBAnalyticsReceiver
from nvflare.job_config.api import FedJob

from fedpac_me.errors import InputError


def require_mlflow(uri: str) -> None:
    """Raise ``InputError`` where ``uri`` cannot be a tracking server's, or MLflow is not installed."""
    scheme, _, place = uri.partition("://")
    # FLARE's processes run in folders of their own, where a relative path would mean another file.
    if not place or (scheme == "sqlite" and not place.startswith("//")):
        raise InputError(
            f"--mlflow wants a tracking URI such as http://tracking.example:5000 or sqlite:////absolute/mlflow.db, "
            f"with an absolute path, not '{uri}'."
        )
    if find_spec("mlflow") is None:
        raise InputError(
            "--mlflow needs the package mlflow where jobs/train.py and the FLARE server run, and it is not installed "
            "here: `pip install mlflow`, or leave the option out. TensorBoard's files are written without it."
        )


def add_receivers(job: FedJob, mlflow: str | None = None) -> None:
    """Put the receivers into a job; ``mlflow`` is the tracking URI, as the FLARE server sees it.

    Raises:
        InputError: see ``require_mlflow``.
    """
    job.to_server(TBAnalyticsReceiver(), id="tensorboard")
    if mlflow is None:
        return
    require_mlflow(mlflow)
    from fedpac_me.flare.mlflow_receiver import SitesAndServerMLflowReceiver

    job.to_server(SitesAndServerMLflowReceiver(mlflow), id="mlflow")
