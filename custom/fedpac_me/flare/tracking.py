# SPDX-License-Identifier: Apache-2.0
"""Who receives the figures of a job's rounds at the server: TensorBoard always, MLflow where it is asked for."""

from __future__ import annotations

from importlib.util import find_spec

from nvflare.apis.fl_constant import EventScope, FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_opt.tracking.tb.tb_receiver import TBAnalyticsReceiver
from nvflare.job_config.api import FedJob

from fedpac_me.errors import InputError

SERVER = "server"
"""Whose figures are those that come from no site, in a simulation and in a federation of any name."""


class ServerNamed:
    """A receiver, to be mixed into FLARE's, that files the server's own figures under ``SERVER``.

    FLARE's own files them under the server's identity, which is the federation's name.
    """

    def _get_record_origin(self, fl_ctx: FLContext, data: Shareable) -> str | None:
        if fl_ctx.get_prop(FLContextKey.EVENT_SCOPE) == EventScope.FEDERATION:
            return super()._get_record_origin(fl_ctx, data)
        return SERVER


class TensorBoardReceiver(ServerNamed, TBAnalyticsReceiver):
    """One writer a site and one for the server, below ``tb_events`` of the server's run."""


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
    job.to_server(TensorBoardReceiver(), id="tensorboard")
    if mlflow is None:
        return
    require_mlflow(mlflow)
    from fedpac_me.flare.mlflow_receiver import SitesAndServerMLflowReceiver

    job.to_server(SitesAndServerMLflowReceiver(mlflow), id="mlflow")
