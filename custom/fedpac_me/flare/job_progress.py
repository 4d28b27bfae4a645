# SPDX-License-Identifier: Apache-2.0
"""How far a running job is, by its log where the person may read it, else by the figures that everybody sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nvflare.apis.job_def import JobMetaKey, RunStatus
from nvflare.fuel.flare_api.api_spec import (
    AuthorizationError,
    InternalError,
    JobNotFound,
    JobNotRunning,
    NoReply,
    TargetType,
)
from nvflare.fuel.flare_api.flare_api import Session
from nvflare.private.defs import ERROR_MSG_PREFIX

from fedpac_me.flare.job_log import last_error, told_by

_BROKEN_OFF = (
    "It started, and its log at the server tells of no error: the job's process there was killed, or the machine had "
    "no memory left"
)
_WHY = {
    RunStatus.FINISHED_EXECUTION_EXCEPTION.value: _BROKEN_OFF,
    RunStatus.FINISHED_ABNORMAL.value: _BROKEN_OFF,
    RunStatus.FINISHED_ABORTED.value: "Somebody aborted it",
}
"""Of ends that FLARE itself gives no reason for."""

_FIGURES = "FedPAC-ME"
"""What the aggregator calls its own among the stats of a job."""


class JobProgress:
    """Tells each round of one job once.

    FLARE's standard policy lets nobody but the project admin read a job's log. All roles see figures of the running
    round, without the sites' names: whoever may not read the log is told whenever these have changed. They are small,
    while FLARE 2.9.0 sends up to 5 MiB of log and can be asked for no less: so, after the first round, the log is read
    when they say that a round or a workflow has ended or an update was refused, and once more when the job is over.
    """

    def __init__(self, session: Session, job_id: str, say: Callable[[str], None]) -> None:
        self._session = session
        self._job_id = job_id
        self._say = say
        self._may_read_log = True
        self._told = 0
        self._told_at: tuple | None = None
        self._last_line = ""

    def look(self, *_: Any) -> bool:
        """Tell what is new; true, as FLARE's monitor wants it from a callback that wishes to go on."""
        if self._may_read_log:
            self._tell_log()
        if not self._may_read_log:
            self._tell_figures()
        return True

    def reason(self, meta: dict[str, Any]) -> str:
        """Why the job did not finish, as far as the log or FLARE's scheduler know."""
        log = self._log()
        error = last_error(log or "")
        if error:
            return error
        deployed = [
            line.replace(ERROR_MSG_PREFIX + ": ", "") for line in meta.get(JobMetaKey.JOB_DEPLOY_DETAIL.value) or []
        ]
        failed = [line for line in deployed if not line.endswith(": OK")]
        why = _WHY.get(meta.get(JobMetaKey.STATUS.value))
        if log is None and (why == _BROKEN_OFF or not (why or failed)):
            return "Its log says why: workspace/log.txt of what `nvflare job download` writes."
        told = [why] if why else (meta.get(JobMetaKey.SCHEDULE_HISTORY.value) or [])[-1:]
        return "; ".join([*told, *failed]) or "The server gives no reason."

    def _tell_log(self) -> None:
        """Tell the log's new lines, unless the job is where it was when they were told last."""
        # For the figures of a job that is still starting, FLARE's server waits up to 5 s with its engine locked.
        stage = _stage(self._stats()) if self._told else None
        if stage is not None and stage == self._told_at:
            return
        log = self._log()
        if log is not None:
            lines = told_by(log)
            for line in lines[self._told :]:
                self._say(line)
            self._told = max(self._told, len(lines))
            self._told_at = stage

    def _log(self) -> str | None:
        """The log so far, empty before the job runs; ``None`` for a person who may not read it."""
        if not self._may_read_log:
            return None
        try:
            return self._session.get_job_logs(self._job_id, "server")["logs"].get("server", "")
        except AuthorizationError:
            self._may_read_log = False
            return None
        except InternalError:
            return ""

    def _stats(self) -> dict[str, Any]:
        """Of the job at the server, by component; empty while it does not run."""
        try:
            return self._session.show_stats(self._job_id, TargetType.SERVER).get("server", {})
        except (JobNotRunning, JobNotFound, InternalError, NoReply):
            # Stats exist while a job runs; FLARE does not agree with itself how to say that it does not.
            return {}

    def _tell_figures(self) -> None:
        figures = self._stats().get(_FIGURES, {})
        if figures.get("accepted") or figures.get("rejected"):
            line = figures_line(figures)
            if line != self._last_line:
                self._say(line)
            self._last_line = line


def _stage(stats: dict[str, Any]) -> tuple | None:
    """Changes whenever the log has something new to tell; ``None`` where the job does not say how far it is."""
    figures, runner = stats.get(_FIGURES, {}), stats.get("ServerRunner", {})
    stage = figures.get("round"), figures.get("rejected"), runner.get("workflow")
    return None if stage == (None, None, None) else stage


def figures_line(figures: dict[str, Any]) -> str:
    """A line from the aggregator's figures in ``show_stats``."""
    parts = [f"round {figures['round'] + 1}", f"so far {figures['accepted']} updates, {figures['rejected']} rejected"]
    for name, label in (("mean_train_loss", "loss"), ("mean_dice_mean", "validation Dice")):
        if name in figures:
            parts.append(f"{label} {figures[name]:.3f}")
    return "  ".join(parts)
