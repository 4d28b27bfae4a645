# SPDX-License-Identifier: Apache-2.0
"""A site's job process that is killed: real processes of the system in place of FLARE's job."""

from __future__ import annotations

import signal
import sys

import pytest
from nvflare.apis.job_launcher_spec import JobReturnCode
from nvflare.app_common.job_launcher.process_launcher import ProcessHandle
from nvflare.utils.process_utils import spawn_process

from fedpac_me.flare.job_keeper import KeptJob

FOREVER = "import signal; signal.pause()"


class Site:
    """Starts one program after the other, and remembers what it started."""

    def __init__(self, *programs: str) -> None:
        self.programs = list(programs)
        self.started = 0

    def launch(self) -> ProcessHandle:
        program = self.programs[self.started]
        self.started += 1
        return ProcessHandle(process_adapter=spawn_process([sys.executable, "-c", program], {}))


def dies_of(name: str) -> str:
    return f"import os, signal; os.kill(os.getpid(), signal.{name})"


def test_a_killed_process_is_started_again_and_its_end_is_the_jobs():
    site = Site(dies_of("SIGKILL"), dies_of("SIGSEGV"), "pass")
    job = KeptJob(site.launch, restarts=3)
    job.wait()
    assert (site.started, job.poll()) == (3, JobReturnCode.SUCCESS)


def test_after_too_many_deaths_the_site_is_out_and_nobody_elses_job_fails():
    site = Site(*[dies_of("SIGKILL")] * 3)
    job = KeptJob(site.launch, restarts=2)
    job.wait()
    assert (site.started, job.poll()) == (3, JobReturnCode.UNKNOWN)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_process_that_somebody_stopped_stays_stopped(name):
    stopped = f"import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); {dies_of(name)}"
    site = Site(stopped, "pass")
    job = KeptJob(site.launch, restarts=3)
    job.wait()
    assert (site.started, job.poll()) == (1, JobReturnCode.UNKNOWN)


def test_an_error_of_the_job_itself_is_flares_to_judge():
    site = Site("raise SystemExit(1)", "pass")
    job = KeptJob(site.launch, restarts=3)
    job.wait()
    assert (site.started, job.poll()) == (1, JobReturnCode.EXECUTION_ERROR)


def test_what_flare_ends_is_not_started_again():
    site = Site(FOREVER, "pass")
    job = KeptJob(site.launch, restarts=3)
    assert job.poll() == JobReturnCode.UNKNOWN
    job.terminate()
    job.wait()
    assert site.started == 1
    assert job._process.adapter.poll() == -signal.SIGKILL
