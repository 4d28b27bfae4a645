# SPDX-License-Identifier: Apache-2.0
"""Ends a simulation that has lost a site and would wait for it for ever.

FLARE's simulator picks a free port for a client, then starts the client, which opens it. Two simulators that start
within the same seconds can pick the same one; the client that finds it taken ends, its simulator notes an error and
goes on waiting (FLARE 2.9.0, ``SimulatorClientRunner.do_one_task``).
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path

import psutil

from fedpac_me.repeated_look import RepeatedLook

_LOST = re.compile(
    r"Communication error with client|Subprocess died for client|run_client_thread error"
    r"|Failed to create connection to the child process"
)
_GRACE_SECONDS = 10.0
_LOOK_EVERY_SECONDS = 2.0


class LostSiteWatch(RepeatedLook):
    """While entered, kills this process's simulator ``grace`` seconds after its log says that a client is gone.

    A simulation that ends by itself in that time was only shutting down.
    """

    def __init__(self, error_log: Path, grace: float = _GRACE_SECONDS) -> None:
        super().__init__(_LOOK_EVERY_SECONDS)
        self.error_log = error_log
        self.lost = False
        self._grace = grace
        self._noticed: float | None = None

    def look(self) -> bool:
        """Note that a client is gone, and end the simulator when the grace is over."""
        if self._noticed is None and says_lost(self.error_log):
            self._noticed = time.monotonic()
        self.lost = self._noticed is not None and time.monotonic() - self._noticed >= self._grace
        if self.lost:
            _kill_simulator()
        return self.lost


def says_lost(error_log: Path) -> bool:
    """Whether the simulator's ``error_log`` tells of a client that is gone."""
    return error_log.is_file() and _LOST.search(error_log.read_text(encoding="utf-8", errors="replace")) is not None


def _kill_simulator() -> None:
    """Kill the simulator's processes, all of them below this one."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if any(word.startswith("nvflare.private.fed.app.simulator.") for word in child.cmdline()):
                child.kill()
