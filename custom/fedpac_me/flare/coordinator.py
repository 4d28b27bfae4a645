# SPDX-License-Identifier: Apache-2.0
"""A coordinator at a running federation: submit a job, follow it, fetch it. FLARE's own session does the talking."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from nvflare.apis.job_def import JobMetaKey, RunStatus
from nvflare.fuel.flare_api.api_spec import AuthorizationError, InvalidJobDefinition, JobNotFound, NoConnection
from nvflare.fuel.flare_api.flare_api import Session, new_secure_session
from nvflare.tool.kit.kit_config import StartupKitConfigError, resolve_admin_user_and_dir_from_startup_kit

from fedpac_me.errors import InputError
from fedpac_me.flare.job_config import SERVER_FILE, config_of_job
from fedpac_me.flare.job_progress import JobProgress

_POLL_SECONDS = 2.0
_CONNECT_SECONDS = 15.0


class JobFailed(RuntimeError):
    """The job ended otherwise than by finishing."""


@contextmanager
def coordinator(kit: Path) -> Iterator[Session]:
    """A session of the person whose admin kit ``kit`` is.

    Raises:
        InputError: it is no admin kit, the server does not answer, or this person may not do what was asked.
    """
    try:
        user, folder = resolve_admin_user_and_dir_from_startup_kit(str(kit))
        with redirect_stdout(io.StringIO()):  # it says that it connects
            session = new_secure_session(user, folder, timeout=_CONNECT_SECONDS)
    except StartupKitConfigError as error:
        raise InputError(f"{kit} is not the kit of an admin: {error}") from None
    except NoConnection:
        raise InputError(f"The server of {kit} does not answer. Is the federation up? poc/up.sh starts one.") from None
    try:
        yield session
    except AuthorizationError:
        raise InputError(f"{user} may not do that: the server's authorization.json says which role may.") from None
    finally:
        session.close()


def submit(session: Session, job: Path) -> str:
    """Hand in a job folder; returns the job's id.

    Raises:
        InputError: it is none, pools the hospitals' cases, or the server does not take it.
    """
    if not (job / "meta.json").is_file():
        raise InputError(f"{job} is not a job folder: it has no meta.json. `jobs/train.py --export` writes one.")
    configs = [config_of_job(path) for path in job.glob(f"*/config/{SERVER_FILE}")]
    if any(config is not None and config.pooled for config in configs):
        raise InputError(
            f"The job {job} pools all hospitals' cases at one site, which exists in simulations only. Run it with "
            "jobs/train.py, or submit a job whose config is not 'pooled'."
        )
    try:
        return session.submit_job(str(job.resolve()))
    except InvalidJobDefinition as error:
        raise InputError(f"The server does not take the job {job}: {error}.") from None


def follow(session: Session, job_id: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Tell each round once, until the job has ended; returns the job's meta data.

    Raises:
        InputError: there is no such job.
        JobFailed: the job did not finish.
    """
    progress = JobProgress(session, job_id, say)
    try:
        _, meta = session.monitor_job_and_return_job_meta(job_id, poll_interval=_POLL_SECONDS, cb=progress.look)
    except JobNotFound:
        raise InputError(f"The server knows no job {job_id}. `nvflare job list` shows those it knows.") from None
    status = meta[JobMetaKey.STATUS.value]
    if status != RunStatus.FINISHED_COMPLETED.value:
        raise JobFailed(f"Job {job_id} ended as {status}. {progress.reason(meta).rstrip('.')}.")
    return meta


def fetch(session: Session, job_id: str, folder: Path) -> Path:
    """Download a job into ``folder``; returns where it lies."""
    return Path(session.download_job_result(job_id, str(folder)))
