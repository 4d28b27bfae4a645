# SPDX-License-Identifier: Apache-2.0
"""Which processes belong to a federation, and how they are ended."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fedpac_me.flare.processes import end_processes, gone_within, processes_of

_UNTIL_TOLD = "import sys; print('ready', flush=True); sys.stdin.read()"
_DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {_UNTIL_TOLD}"


@pytest.fixture
def start():
    """Starts a Python process with more words on its command line; ends it after the test."""
    started = []

    def call(program: str, *words: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()


def test_only_flares_processes_of_that_federation_are_ended(start, tmp_path):
    ours = [
        start(_UNTIL_TOLD, tmp_path / "one/server/startup/sub_start.sh"),
        start(_UNTIL_TOLD, "nvflare.private.fed.app.client.client_train", "-m", tmp_path / "one/site-1"),
    ]
    others = [
        start(_UNTIL_TOLD, tmp_path / "two/server/startup/sub_start.sh"),
        start(_UNTIL_TOLD, tmp_path / "one/server/log.txt"),
    ]
    assert {process.pid for process in processes_of(tmp_path / "one")} == {process.pid for process in ours}
    assert not gone_within(tmp_path / "one", 0.0)
    assert end_processes(tmp_path / "one") == 2
    assert gone_within(tmp_path / "one", 0.0)
    assert None not in [process.poll() for process in ours]
    assert [process.poll() for process in others] == [None, None]


def test_a_process_that_does_not_listen_is_killed(start, tmp_path, monkeypatch):
    monkeypatch.setattr("fedpac_me.flare.processes._GRACE_SECONDS", 0.2)
    deaf = start(_DEAF, "nvflare.private.fed.app.server.server_train", tmp_path / "server")
    assert end_processes(tmp_path) == 1
    assert deaf.poll() is not None
    assert gone_within(tmp_path, 0.0)
