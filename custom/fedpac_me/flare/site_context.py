# SPDX-License-Identifier: Apache-2.0
"""Where a site finds its settings, and where it keeps what stays with it."""

from __future__ import annotations

import os
from pathlib import Path

from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext

from fedpac_me.data.site import SiteSettings, find_settings
from fedpac_me.federation.run_state import JOB_FOLDER
from fedpac_me.learning.site_state import states_of_job

EARLIER_RUN_VARIABLE = "FEDPAC_ME_EARLIER_RUN"
"""In a simulation that goes on from another: the folder of that run, where its sites left their states."""

STATES_FOLDER = "fedpac_me_states"
"""In a site's workspace: what it keeps from job to job."""


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


def site_states(fl_ctx: FLContext, settings: SiteSettings, resumes: str | None = None) -> Path:
    """The folder of the site's states in this job, beside those of other jobs, where a later job can find it.

    ``resumes``: the job that this one goes on from, whose states are copied.
    """
    site, earlier_run = fl_ctx.get_identity_name(), os.environ.get(EARLIER_RUN_VARIABLE)
    root = Path(fl_ctx.get_engine().get_workspace().get_root_dir()) / STATES_FOLDER
    if settings.states is not None:
        root = settings.states / site
    earlier_root = Path(earlier_run) / site / STATES_FOLDER if earlier_run and settings.states is None else root
    return states_of_job(root, fl_ctx.get_job_id(), earlier_root / resumes if resumes else None)


def site_folder(fl_ctx: FLContext) -> Path:
    """The folder of this job that nothing is sent from."""
    run = Path(fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id()))
    return run / JOB_FOLDER
