# SPDX-License-Identifier: Apache-2.0
"""The scripts of ``poc/`` as a person would call them, on a federation of the tests' own."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from fedpac_me.flare.local_federation import LocalFederation
from fedpac_me.flare.processes import processes_of, this_python_first
from flare_tools import ROOT, Command, program, run_command, run_here

_BETWEEN_LOOKS = threading.Event()
_LOOK_EVERY_SECONDS = 0.05
_WAIT = """
import sys
from pathlib import Path
from fedpac_me.flare.local_federation import LocalFederation
from fedpac_me.flare.readiness import wait_until_ready

wait_until_ready(LocalFederation(Path(sys.argv[1])), sys.argv[2:])
"""
_JOB_ID = re.compile(r"Submitted: (\S+)")


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True)
class Federation:
    """A work folder with a POC federation in it, and a person who stands beside that folder."""

    place: Path

    @property
    def poc(self) -> LocalFederation:
        """The same as an object."""
        return LocalFederation(self.place / "build" / "poc")

    def wait_for(self, *sites: str) -> None:
        """Return when the server answers and ``sites`` have joined it.

        In a process of its own: once FLARE has been used for something else in this one, it cannot log in.
        """
        done = run_command(sys.executable, "-c", _WAIT, self.poc.work, *sites, cwd=self.place)
        assert done.code == 0, done.out + done.err

    def script(self, name: str, *words: str | Path) -> Command:
        """Run ``poc/<name>.sh`` to its end."""
        return run_command(ROOT / "poc" / f"{name}.sh", *words, cwd=self.place, HOME=str(self.place))

    def nvflare(self, *words: str, kit: Path | None = None) -> dict:
        """One of FLARE's own commands with an admin's kit; its answer, which must be good."""
        done = run_command(
            "nvflare", "--format", "json", *words, "--startup-kit", kit or self.poc.admin_kit,
            cwd=self.place, HOME=str(self.place),
        )  # fmt: skip
        assert done.code == 0, done.out + done.err
        return json.loads(done.out)["data"]

    def export(self, config: Path | None, name: str, *words: str, **environment: str) -> Path:
        """Write a job folder with ``jobs/train.py``; without a ``config`` the words say what.

        In a process of its own where that shall have another ``environment``.
        """
        options = ["--export", "--export-dir", "jobs", "--name", name, *words]
        options += [] if config is None else ["--config", config]
        if environment:
            done = run_command(sys.executable, ROOT / "jobs/train.py", *options, cwd=self.place, **environment)
        else:
            done = run_here(program("jobs/train.py").main, *options, cwd=self.place)
        assert done.code == 0, done.err
        return self.place / "jobs" / name

    def submit(self, job: Path, *words: str | Path) -> str:
        """Hand in a job; its id."""
        done = self.script("submit", job, *words)
        assert done.code == 0, done.out + done.err
        return _JOB_ID.search(done.out)[1]

    def kit(self, name: str) -> Path:
        """The kit of a server, a site, or of the person whose name begins so."""
        (found,) = [kit for kit in self.poc.kits.iterdir() if kit.name == name or kit.name.startswith(f"{name}@")]
        return found

    def processes_at(self, name: str) -> list[psutil.Process]:
        """Those of one kit: what keeps it alive, server or client, and its jobs."""
        kit = str(self.kit(name).resolve())
        return [
            process
            for process in processes_of(self.poc.workspace)
            if any(word == kit or word.startswith(f"{kit}/") for word in process.info["cmdline"])
        ]

    def ledger(self, job_id: str) -> list[dict]:
        """The rounds so far of a running job, as its server has written them down."""
        path = self.kit("server") / job_id / "fedpac_me" / "ledger.json"
        return json.loads(path.read_text())["rounds"] if path.is_file() else []


def start(kit: Path, *before: str) -> None:
    """Run a kit's start script, for instance ``ip netns exec NAME`` ``before`` it."""
    with open(kit / "console.log", "ab") as log:
        subprocess.run(
            [*before, str(kit.resolve() / "startup" / "start.sh")],
            env=this_python_first(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True,
            start_new_session=True,
        )  # fmt: skip


def until(condition: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    """Look until ``condition`` holds; fails, saying ``what`` was waited for, when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        _BETWEEN_LOOKS.wait(_LOOK_EVERY_SECONDS)
        if time.monotonic() > deadline:
            pytest.fail(f"{seconds:.0f} s passed without {what}")
