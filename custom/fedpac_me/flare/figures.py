# SPDX-License-Identifier: Apache-2.0
"""Figures of a round on their way to whoever receives them at the server: TensorBoard, MLflow."""

from __future__ import annotations

from collections.abc import Mapping

from nvflare.apis.analytix import AnalyticsDataType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext
from nvflare.apis.utils.analytix_utils import create_analytic_dxo, send_analytic_dxo


def send_figures(component: FLComponent, fl_ctx: FLContext, figures: Mapping[str, float], round_number: int) -> None:
    """Send each figure under its name; every step of every curve is a round, counted from 0.

    At the server this reaches its receivers directly, at a site through ``ConvertToFedEvent``.
    """
    for tag, value in figures.items():
        dxo = create_analytic_dxo(
            tag=tag, value=float(value), data_type=AnalyticsDataType.SCALAR, global_step=round_number
        )
        send_analytic_dxo(component, dxo, fl_ctx)
