# SPDX-License-Identifier: Apache-2.0
"""A simulator that has lost a site's process is stopped and started again, instead of waiting for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from fedpac_me.flare.lost_site import LostSiteWatch, says_lost
from flare_tools import ROOT


@pytest.mark.parametrize(
    ("line", "lost"),
    [
        ("SimulatorClientRunner - ERROR - Communication error with client site-2: ", True),
        ("SimulatorClientRunner - ERROR - Subprocess died for client site-2, exit code: 1", True),
        ("Cell - ERROR - [site-1] cannot send to server", False),
    ],
)
def test_only_a_lost_client_counts(tmp_path, line, lost):
    log = tmp_path / "error_log.txt"
    assert not says_lost(log)
    log.write_text(f"2026-01-01 00:00:00 - {line}\n")
    assert says_lost(log) is lost


def test_the_simulators_process_is_killed_and_no_other(tmp_path):
    until_told = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    simulator = subprocess.Popen([*until_told, "nvflare.private.fed.app.simulator.simulator"], stdin=subprocess.PIPE)
    other = subprocess.Popen(until_told, stdin=subprocess.PIPE)
    (tmp_path / "error_log.txt").write_text("Communication error with client site-1")
    with LostSiteWatch(tmp_path / "error_log.txt", grace=0.0) as watch:
        assert simulator.wait(60) == -signal.SIGKILL
    assert watch.lost
    assert other.poll() is None
    other.communicate()
    assert other.returncode == 0


def test_a_run_that_loses_a_site_starts_again_and_ends_well(tmp_path, hospitals, tiny_config):
    command = [sys.executable, ROOT / "jobs/train.py", "--config", tiny_config, "--data", hospitals, "--name", "lossy"]
    run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    printed, victim = [], None
    for line in run.stdout:
        printed.append(line)
        if victim is None and line.startswith("round 1/2"):
            victim = _client(tmp_path / "runs" / "lossy", "site-1")
            os.kill(victim, signal.SIGKILL)
    assert run.wait(60) == 0, "".join(printed)
    assert "starting again" in "".join(printed)
    assert sum(line.startswith("round 2/2") for line in printed) == 1
    assert (tmp_path / "runs/lossy/report.html").is_file()


def _client(workspace, site: str) -> int:
    """Process number of the simulated client."""
    listed = subprocess.run(["pgrep", "-f", f"simulator_worker -o {workspace}/{site} "], capture_output=True, text=True)
    return int(listed.stdout.split()[0])
