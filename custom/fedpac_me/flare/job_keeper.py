# SPDX-License-Identifier: Apache-2.0
"""A site whose job process is killed starts it again, so that one hospital's fault does not end everybody's job.

FLARE's own launcher reports a process that was killed, for instance because the machine had no memory left, as a failed
job, and the server then ends the job at all sites (FLARE 2.9.0, ``FederatedServer.process_job_failure``).
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable

from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_launcher_spec import JobHandleSpec, JobReturnCode
from nvflare.app_common.job_launcher.client_process_launcher import ClientProcessJobLauncher
from nvflare.app_common.job_launcher.process_launcher import ProcessHandle

_STOPPED_BY_HAND = (-signal.SIGTERM, -signal.SIGINT)
_log = logging.getLogger(__name__)


class JobKeeper(ClientProcessJobLauncher):
    """FLARE's launcher of a site's jobs, in the site's kit; see ``kits.configure_kit``.

    Args:
        restarts: how often the process of one job is started again; after that the site is out of this job.
    """

    def __init__(self, restarts: int = 3) -> None:
        super().__init__()
        self.restarts = restarts

    def launch_job(self, job_meta: dict, fl_ctx: FLContext) -> JobHandleSpec:
        """Start the job's process, and again as often as it is killed."""

        def launch() -> ProcessHandle:
            return ClientProcessJobLauncher.launch_job(self, job_meta, fl_ctx)

        return KeptJob(launch, self.restarts)


class KeptJob(JobHandleSpec):
    """The process of one job, or the one that has taken its place."""

    def __init__(self, launch: Callable[[], ProcessHandle], restarts: int) -> None:
        self._launch = launch
        self._restarts = restarts
        self._ended_on_purpose = False
        self._process = launch()

    def terminate(self) -> None:
        """End the process for good."""
        self._ended_on_purpose = True
        self._process.terminate()

    def wait(self) -> None:
        """Return when the process has ended by itself or on purpose, or was killed too often."""
        self._process.wait()
        while self._killed and self._restarts > 0 and not self._ended_on_purpose:
            self._restarts -= 1
            _log.warning(f"The job's process was killed. It is started again, {self._restarts} more times at most.")
            self._process = self._launch()
            if self._ended_on_purpose:  # between the two lines above
                self._process.terminate()
            self._process.wait()

    def poll(self) -> int:
        """The job's return code; ``UNKNOWN``, which ends nobody else's job, for a process that was killed."""
        return JobReturnCode.UNKNOWN if self._signalled else self._process.poll()

    @property
    def _signalled(self) -> bool:
        code = self._process.adapter.poll()
        return code is not None and code < 0

    @property
    def _killed(self) -> bool:
        return self._signalled and self._process.adapter.poll() not in _STOPPED_BY_HAND
