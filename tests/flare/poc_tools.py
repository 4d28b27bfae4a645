# SPDX-License-Identifier: Apache-2.0
"""The scripts of ``poc/`` as a person would call them, on a federation of the tests' own."""

from __future__ import annotations

import json
import re
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedpac_me.flare.local_federation import LocalFederation
from flare_tools import ROOT, Command, run_command

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
        """Write a job folder with ``jobs/train.py``; without a ``config`` the words say what."""
        command = [ROOT / "jobs/train.py", "--export", "--export-dir", "jobs", "--name", name]
        command += [] if config is None else ["--config", config]
        done = run_command(sys.executable, *command, *words, cwd=self.place, **environment)
        assert done.code == 0, done.err
        return self.place / "jobs" / name

    def submit(self, job: Path, *words: str | Path) -> str:
        """Hand in a job; its id."""
        done = self.script("submit", job, *words)
        assert done.code == 0, done.out + done.err
        return _JOB_ID.search(done.out)[1]


def until(condition: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    """Look until ``condition`` holds; fails, saying ``what`` was waited for, when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{seconds:.0f} s passed without {what}")
