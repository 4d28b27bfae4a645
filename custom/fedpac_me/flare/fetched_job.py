# SPDX-License-Identifier: Apache-2.0
"""A job as it was downloaded from a federation, made a run folder: the same report as after a simulation."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

from nvflare.apis.job_def import JobMetaKey

from fedpac_me.errors import InputError
from fedpac_me.flare.job_config import SERVER_FILE, config_of_job
from fedpac_me.run_info import finish_run
from fedpac_me.storage import read_json

_DURATION = re.compile(r"(?:(\d+) days?, )?(\d+):(\d+):(\d+(?:\.\d+)?)")


def make_run(job: Path, data: Path | None = None) -> None:
    """Write ``run.json`` into the downloaded job's folder.

    Args:
        job: what `nvflare job download` wrote: ``meta.json``, ``job/`` and ``workspace/``.
        data: the hospitals' folder where one person has them all; in a real federation nobody has.

    Raises:
        InputError: it is no downloaded job of this project, or the job left no model.
    """
    meta = _read(_only(job, "meta.json"))
    server_file = _only(job, f"workspace/app_server/config/{SERVER_FILE}")
    config = config_of_job(server_file)
    if config is None:
        raise InputError(f"{server_file} is not of a job of this project that trains: it has no config.")
    name = meta.get(JobMetaKey.JOB_NAME.value, job.name)
    finish_run(job, name, config, data, _seconds(meta.get(JobMetaKey.DURATION.value, "")))


def _only(job: Path, name: str) -> Path:
    if not (job / name).is_file():
        raise InputError(f"{job} is not a job as `nvflare job download` writes it: it has no {name}.")
    return job / name


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}. Name a folder that `nvflare job download` wrote.") from None


def _seconds(duration: str) -> float:
    found = _DURATION.fullmatch(duration)
    if not found:
        return 0.0
    days, hours, minutes, seconds = found.groups(default="0")
    return timedelta(days=int(days), hours=int(hours), minutes=int(minutes), seconds=float(seconds)).total_seconds()
