# SPDX-License-Identifier: Apache-2.0
"""Ends a simulation that has lost a site and would wait for it for ever.

FLARE's simulator picks a free port for a client, then starts the client, which opens it. Two simulators that start
within the same seconds can pick the same one; the client that finds it taken ends, its simulator notes an error and
goes on waiting (FLARE 2.9.0, ``SimulatorClientRunner.do_one_task``).
"""

from __future__ import annotations

import re
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

_LOST = re.compile(
    r"Communication error with client|Subprocess died for client|run_client_thread error"
    r"|Failed to create connection to the child process"
)
_GRACE_SECONDS = 10.0
_LOOK_EVERY_SECONDS = 2.0


class LostSiteWatch:
    """While entered, kills this process's simulator ``grace`` seconds after its log says that a client is gone.

    A simulation that ends by itself in that time was only shutting down.
    """

    def __init__(self, error_log: Path, grace: float = _GRACE_SECONDS) -> None:
        self.error_log = error_log
        self.lost = False
        self._grace = grace
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> LostSiteWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()

    def _watch(self) -> None:
        noticed: float | None = None
        while not self._left.wait(_LOOK_EVERY_SECONDS):
            if noticed is None and says_lost(self.error_log):
                noticed = time.monotonic()
            if noticed is not None and time.monotonic() - noticed >= self._grace:
                self.lost = True
                _kill_simulator()
                return


def says_lost(error_log: Path) -> bool:
    """Whether the simulator's ``error_log`` tells of a client that is gone."""
    return error_log.is_file() and _LOST.search(error_log.read_text(encoding="utf-8", errors="replace")) is not None


def _kill_simulator() -> None:
    """Kill the simulator's processes, all of them below this one."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any(word.startswith("nvflare.private.fed.app.simulator.") for word in child.cmdline()):
                child.kill()
