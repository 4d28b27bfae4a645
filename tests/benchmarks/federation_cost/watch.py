# SPDX-License-Identifier: Apache-2.0
"""The memory of processes while something runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil

from fedpac_me.flare.processes import processes_of
from fedpac_me.repeated_look import RepeatedLook

_EVERY_SECONDS = 1.0


class MemoryWatch(RepeatedLook):
    """While entered, measures once a second; ``samples`` holds (seconds since the epoch, what ``measure`` found)."""

    def __init__(self, measure: Callable[[], dict[str, int]]) -> None:
        super().__init__(_EVERY_SECONDS)
        self.samples: list[tuple[float, dict[str, int]]] = []
        self._measure = measure

    def look(self) -> bool:
        """One more sample; there is no last one."""
        self.samples.append((time.time(), self._measure()))
        return False


def resident_of_federation(workspace: Path) -> dict[str, int]:
    """Resident bytes by role: ``server``, ``server's job``, ``site-1``, ``site-1's job`` and so on."""
    found = {}
    for process in processes_of(workspace):
        try:
            role = _role(process.cmdline())
            if role:
                found[role] = process.memory_info().rss
        except psutil.Error:
            continue  # it ended while being looked at
    return found


def shared_out(process: psutil.Process) -> dict[str, int]:
    """``all``: bytes of a process and those below it, shared pages counted once (proportional set size)."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:
            continue
    return {"all": total}


def _role(words: list[str]) -> str | None:
    """Who a FLARE process is, by its command line; ``None`` for the shells around them."""
    module = next((word for word in words if word.startswith("nvflare.private.fed.app.")), "")
    if module.endswith(("server_train", "runner_process")):
        return "server's job" if module.endswith("runner_process") else "server"
    if module.endswith(("client_train", "worker_process")):
        site = next(word.partition("=")[2] for word in words if word.startswith("uid="))
        return f"{site}'s job" if module.endswith("worker_process") else site
    return None
