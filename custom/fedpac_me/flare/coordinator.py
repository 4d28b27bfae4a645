# SPDX-License-Identifier: Apache-2.0
"""A coordinator at a running federation: submit a job, follow it, fetch it. FLARE's own session does the talking."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nvflare.apis.job_def import JobMetaKey, RunStatus
from nvflare.fuel.flare_api.api_spec import (
    AuthorizationError,
    InternalError,
    InvalidJobDefinition,
    JobNotFound,
    NoConnection,
)
from nvflare.fuel.flare_api.flare_api import Session, new_secure_session
from nvflare.tool.kit.kit_config import StartupKitConfigError, resolve_admin_user_and_dir_from_startup_kit

from fedpac_me.errors import InputError
from fedpac_me.flare.job_log import last_error, told_by

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
    """Hand in a job folder; returns the job's id."""
    if not (job / "meta.json").is_file():
        raise InputError(f"{job} is not a job folder: it has no meta.json. `jobs/train.py --export` writes one.")
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
    told = 0

    def look(*_: Any) -> bool:
        nonlocal told
        lines = told_by(_log(session, job_id))
        for line in lines[told:]:
            say(line)
        told = max(told, len(lines))
        return True

    try:
        _, meta = session.monitor_job_and_return_job_meta(job_id, poll_interval=_POLL_SECONDS, cb=look)
    except JobNotFound:
        raise InputError(f"The server knows no job {job_id}. `nvflare job list` shows those it knows.") from None
    if meta[JobMetaKey.STATUS.value] != RunStatus.FINISHED_COMPLETED.value:
        why = last_error(_log(session, job_id)) or _schedule(meta)
        raise JobFailed(f"Job {job_id} ended as {meta[JobMetaKey.STATUS.value]}. {why}")
    return meta


def fetch(session: Session, job_id: str, folder: Path) -> Path:
    """Download a job into ``folder``; returns where it lies."""
    return Path(session.download_job_result(job_id, str(folder)))


def _log(session: Session, job_id: str) -> str:
    """The job's log so far; empty before it runs."""
    try:
        return session.get_job_logs(job_id, "server")["logs"].get("server", "")
    except InternalError:
        return ""


def _schedule(meta: dict[str, Any]) -> str:
    history = meta.get(JobMetaKey.SCHEDULE_HISTORY.value) or ["The server gives no reason."]
    deployed = [line for line in meta.get(JobMetaKey.JOB_DEPLOY_DETAIL.value) or [] if not line.endswith(": OK")]
    return "; ".join(json.dumps(line) for line in [*history[-1:], *deployed])
