# SPDX-License-Identifier: Apache-2.0
"""Following a job with a session that answers from a list."""

from __future__ import annotations

import pytest
from nvflare.fuel.flare_api.api_spec import AuthorizationError, InternalError, JobNotFound, JobNotRunning

from fedpac_me.flare.job_progress import JobProgress

ROUND = "2026-01-01 10:00:00,000 - progress - INFO - round {}/2"


class Session:
    """Answers each question for the log with the next of ``logs``, and each for figures with the next of ``stats``.

    Without any left, the log may not be read and the job does not run.
    """

    def __init__(self, logs=(), stats=()) -> None:
        self.logs, self.stats = list(logs), list(stats)

    def get_job_logs(self, job_id, target):
        answer = self.logs.pop(0) if self.logs else AuthorizationError()
        if isinstance(answer, Exception):
            raise answer
        return {"logs": {target: answer}}

    def show_stats(self, job_id, target):
        answer = self.stats.pop(0) if self.stats else JobNotRunning()
        if isinstance(answer, Exception):
            raise answer
        return {"server": answer}


def told(session, looks):
    lines = []
    progress = JobProgress(session, "id", lines.append)
    for _ in range(looks):
        assert progress.look() is True
    return lines


def figures(number, accepted, workflow="training", **more):
    own = {"round": number, "accepted": accepted, "rejected": 0} | more
    return {"FedPAC-ME": own, "ServerRunner": {"workflow": workflow}}


def test_a_growing_log_is_told_once():
    one, two = ROUND.format(1), ROUND.format(2)
    assert told(Session([InternalError("not yet"), "", one, one, f"{one}\n{two}"]), 5) == ["round 1/2", "round 2/2"]


def test_the_log_is_read_when_a_round_or_the_training_has_ended_or_an_update_was_refused():
    one, two = ROUND.format(1), ROUND.format(2)
    refusal = "2026-01-01 10:00:01,000 - ExpertWiseAggregator - WARNING - Update of site-1 refused: it is late"
    logs = ["", one, one, f"{one}\n{refusal}", f"{one}\n{refusal}\n{two}", f"{one}\n{refusal}\n{two}"]
    stats = [
        figures(1, 0),  # asked for when the first round was told
        figures(1, 1),
        figures(1, 1, rejected=1),
        figures(1, 2, rejected=1),
        figures(1, 2, rejected=1, workflow="evaluation"),
        figures(1, 2, rejected=1, workflow="evaluation"),
        JobNotRunning(),
    ]
    session = Session(logs, stats)
    lines = []
    progress = JobProgress(session, "id", lines.append)
    left = [progress.look() and len(session.logs) for _ in range(9)]
    assert left == [5, 4, 3, 3, 2, 2, 1, 1, 0]
    assert lines == ["round 1/2", "Update of site-1 refused: it is late", "round 2/2"]
    assert session.stats == []


def test_who_may_not_read_the_log_gets_the_figures_as_they_change():
    stats = [
        JobNotRunning(),
        figures(-1, 0),
        figures(0, 1),
        figures(0, 2, mean_train_loss=1.25, mean_dice_mean=0.5),
        figures(0, 2, mean_train_loss=1.25, mean_dice_mean=0.5),
        figures(1, 0),
        figures(1, 0, rejected=1),
        JobNotFound(),
    ]
    assert told(Session(stats=stats), 8) == [
        "round 1  so far 1 updates, 0 rejected",
        "round 1  so far 2 updates, 0 rejected  loss 1.250  validation Dice 0.500",
        "round 2  so far 0 updates, 1 rejected",
    ]


def test_the_reason_is_the_logs_last_error_or_what_the_scheduler_says():
    error = "2026-01-01 10:00:00,000 - ServerRunner - ERROR - no quorum"
    assert JobProgress(Session([error]), "id", print).reason({}) == "no quorum"
    meta = {
        "schedule_history": ["first", "no site"],
        "job_deploy_detail": ["server: OK", "site-1: NVFLARE_ERROR: denied"],
    }
    assert JobProgress(Session([""]), "id", print).reason(meta) == "no site; site-1: denied"


def test_who_may_not_read_the_log_is_told_why_a_job_was_not_deployed_and_else_where_the_log_is():
    meta = {"schedule_history": ["scheduled"], "job_deploy_detail": ["server: OK", "site-1: NVFLARE_ERROR: denied"]}
    assert JobProgress(Session(), "id", print).reason(meta) == "scheduled; site-1: denied"
    for other in ({}, meta | {"status": "FINISHED:EXECUTION_EXCEPTION"}):
        assert "workspace/log.txt" in JobProgress(Session(), "id", print).reason(other)


@pytest.mark.parametrize("log", [None, ""])
def test_an_aborted_job_was_aborted_by_somebody(log):
    meta = {"schedule_history": ["scheduled"], "status": "FINISHED:ABORTED"}
    session = Session() if log is None else Session([log])
    assert JobProgress(session, "id", print).reason(meta) == "Somebody aborted it"


def test_no_reason_is_said_to_be_none():
    assert JobProgress(Session([""]), "id", print).reason({}) == "The server gives no reason."


def test_a_job_that_broke_off_without_a_word_is_said_to_have_been_killed():
    meta = {"schedule_history": ["scheduled"], "status": "FINISHED:EXECUTION_EXCEPTION"}
    assert "was killed" in JobProgress(Session([""]), "id", print).reason(meta)
    assert JobProgress(Session([""]), "id", print).reason(meta | {"status": "FINISHED:FAILED_TO_RUN"}) == "scheduled"
