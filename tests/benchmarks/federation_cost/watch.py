# SPDX-License-Identifier: Apache-2.0
"""The memory of processes while something runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from fedpac_me.flare.processes import processes_of

_EVERY_SECONDS = 1.0


class MemoryWatch:
    """While entered, looks once a second; ``samples`` holds (seconds since the epoch, what ``look`` found)."""

    def __init__(self, look: Callable[[], dict[str, int]]) -> None:
        self.samples: list[tuple[float, dict[str, int]]] = []
        self._look = look
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._left.wait(_EVERY_SECONDS):
            self.samples.append((time.time(), self._look()))


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
