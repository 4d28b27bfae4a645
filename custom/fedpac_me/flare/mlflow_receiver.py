# SPDX-License-Identifier: Apache-2.0
"""Figures to an MLflow tracking server, as FLARE's own receiver sends them. Importing this needs the package mlflow."""

from __future__ import annotations

import os

from nvflare.apis.analytix import ANALYTIC_EVENT_TYPE, TrackConst
from nvflare.apis.dxo import from_shareable
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.widgets.convert_to_fed_event import FED_EVENT_PREFIX
from nvflare.app_opt.tracking.mlflow.mlflow_receiver import MLflowReceiver

from fedpac_me.flare.tracking import SERVER, ServerNamed

EXPERIMENT = "FedPAC-ME"
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


class SitesAndServerMLflowReceiver(ServerNamed, MLflowReceiver):
    """One MLflow run a site and one for the server, whose own figures FLARE's receiver leaves out.

    Args:
        tracking_uri: of the tracking server or database, as the FLARE server sees it.
    """

    def __init__(self, tracking_uri: str) -> None:
        names = {TrackConst.EXPERIMENT_NAME: EXPERIMENT}
        tags: dict = {TrackConst.EXPERIMENT_TAGS: {}, TrackConst.RUN_TAGS: {}}  # it prints that it misses them
        events = [ANALYTIC_EVENT_TYPE, FED_EVENT_PREFIX + ANALYTIC_EVENT_TYPE]
        super().__init__(tracking_uri=tracking_uri, kw_args=names | tags, events=events)
        self._given_up: int | None = None

    def initialize(self, fl_ctx: FLContext) -> None:
        """Opens the runs. A tracking server that does not answer shall cost a round seconds, not MLflow's minutes."""
        for name, value in _IMPATIENT.items():
            os.environ.setdefault(name, value)
        super().initialize(fl_ctx)

    def save(self, fl_ctx: FLContext, shareable: Shareable, record_origin: str) -> None:
        """Send one figure. After one that fails, the others of its round are dropped: each would wait as long.

        A site that joined after the job began has no run in MLflow.
        """
        round_number = from_shareable(shareable).data.get(TrackConst.GLOBAL_STEP_KEY)
        too_late = round_number is not None and round_number == self._given_up
        if too_late or record_origin not in self.run_ids:
            return
        try:
            super().save(fl_ctx, shareable, record_origin)
        except Exception:
            self._given_up = round_number
            raise

    def _mlflow_setup(self, artifacts: str, experiment: str, tags: dict, sites: list[str], fl_ctx: FLContext) -> None:
        super()._mlflow_setup(artifacts, experiment, tags, [*sites, SERVER], fl_ctx)

    def _init_buffer(self, site_names: list[str]) -> None:
        super()._init_buffer(list(self.run_ids))
