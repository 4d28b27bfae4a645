# SPDX-License-Identifier: Apache-2.0
"""Where a site finds its settings, and where it keeps what stays with it."""

from __future__ import annotations

from pathlib import Path

from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext

from fedpac_me.data.site import SiteSettings, find_settings


def site_settings(fl_ctx: FLContext) -> SiteSettings:
    """The settings of the site that runs the task.

    Raises:
        InputError: see ``find_settings``.
    """
    workspace = fl_ctx.get_engine().get_workspace()
    return find_settings(
        fl_ctx.get_identity_name(),
        kit=Path(workspace.get_site_config_dir()),
        simulated=bool(fl_ctx.get_prop(FLContextKey.SIMULATE_MODE, False)),
    )


def site_folder(fl_ctx: FLContext) -> Path:
    """The folder of this job that nothing is sent from."""
    run = Path(fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id()))
    return run / "fedpac_me"
