# SPDX-License-Identifier: Apache-2.0
"""The FLARE processes of one federation on this machine, and who holds a port."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil

from fedpac_me.errors import InputError

_OF_FLARE = ("nvflare.private.fed.", "/startup/sub_start.sh")
_GRACE_SECONDS = 10.0


def this_python_first() -> dict[str, str]:
    """This process's environment, in which ``python3``, as FLARE's scripts and checks call it, is this Python."""
    return {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}


def processes_of(folder: Path) -> list[psutil.Process]:
    """FLARE's servers, clients, jobs and the shells that keep them alive, whose kits lie below ``folder``."""
    kits = f"{folder.resolve()}/"
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(kits in word for word in words) and any(mark in word for word in words for mark in _OF_FLARE):
            found.append(process)
    return found


def gone_within(folder: Path, seconds: float) -> bool:
    """Wait until no process of the federation is left; false when ``seconds`` pass first."""
    return not psutil.wait_procs(processes_of(folder), timeout=seconds)[1]


def end_processes(folder: Path) -> int:
    """Stop what is left of a federation, politely first; returns how many processes there were."""
    left = processes_of(folder)
    # The shells first: they start a server or a client again that has ended without being asked to.
    left.sort(key=lambda process: not any("sub_start.sh" in word for word in process.info["cmdline"]))
    _signal(left, "terminate")
    _signal(psutil.wait_procs(left, timeout=_GRACE_SECONDS)[1], "kill")
    psutil.wait_procs(left, timeout=_GRACE_SECONDS)
    return len(left)


def holder_of(port: int) -> str | None:
    """Who listens on ``port``, in words; ``None`` when nobody does."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
            return _name(connection.pid)
    return None


def require_free_port(port: int, use: str) -> None:
    """Raise ``InputError`` when someone listens on ``port`` already, and say who."""
    holder = holder_of(port)
    if holder is not None:
        raise InputError(f"Port {port}, {use}, is held by {holder}. Stop that, or pass another --port.")


def can_bind(port: int) -> bool:
    """Whether ``port`` is free for a program that does not ask to reuse it.

    For a minute after a server has gone, the system keeps the ports of its connections from such programs.
    """
    with socket.socket() as probe:
        try:
            probe.bind(("localhost", port))
        except OSError:
            return False
    return True


def _name(pid: int | None) -> str:
    if pid is None:
        return "a process of another user"
    try:
        return f"process {pid} ({' '.join(psutil.Process(pid).cmdline())[:120]})"
    except psutil.Error:
        return f"process {pid}"


def _signal(processes: Iterable[psutil.Process], name: str) -> None:
    for process in processes:
        try:
            getattr(process, name)()
        except psutil.NoSuchProcess:
            continue
