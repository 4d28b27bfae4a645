# SPDX-License-Identifier: Apache-2.0
"""Submit a job, ask all that the admin console can ask while it runs, fetch it; prints what was answered as JSON.

A program of its own: a simulation earlier in the same process would leave FLARE without certificates.

python tests/flare/look_in.py KIT JOB FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from nvflare.fuel.flare_api.api_spec import InternalError, JobNotFound, JobNotRunning, NoReply, TargetType

from fedpac_me.flare.coordinator import coordinator, fetch, submit

_POLL_SECONDS = 1.0


def look_in(kit: Path, job: Path, folder: Path) -> dict:
    """``run``: where the fetched job lies; ``stats``, ``errors``, ``logs``: every answer."""
    answers: dict[str, list] = {"stats": [], "errors": []}
    with coordinator(kit) as session:
        job_id = submit(session, job)

        def ask(*_) -> bool:
            for name, question in (("stats", session.show_stats), ("errors", session.show_errors)):
                try:
                    answers[name].append(question(job_id, TargetType.ALL))
                except (InternalError, JobNotFound, JobNotRunning, NoReply):
                    continue  # before it runs, and after
            return True

        _, meta = session.monitor_job_and_return_job_meta(job_id, poll_interval=_POLL_SECONDS, cb=ask)
        logs = session.get_job_logs(job_id, "all")
        return {**answers, "status": meta["status"], "logs": logs, "run": str(fetch(session, job_id, folder))}


if __name__ == "__main__":
    print(json.dumps(look_in(*map(Path, sys.argv[1:4]))))
