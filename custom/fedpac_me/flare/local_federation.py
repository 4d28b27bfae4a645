# SPDX-License-Identifier: Apache-2.0
"""A federation whose kits all lie below one folder of this machine, running or not."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nvflare.tool.api_utils import shutdown_system

from fedpac_me.errors import InputError
from fedpac_me.flare.processes import end_processes, gone_within, holder_of, processes_of, this_python_first
from fedpac_me.flare.project_file import names, server_port
from fedpac_me.storage import read_json, write_json

_STOP_SECONDS = 20.0


class FederationFailed(RuntimeError):
    """FLARE could not prepare or start the federation."""


@dataclass(frozen=True)
class LocalFederation:
    """Kits, jobs and settings below ``work``."""

    work: Path

    @property
    def workspace(self) -> Path:
        """FLARE's workspace."""
        return self.work / "workspace"

    @property
    def kits(self) -> Path:
        """One folder a participant."""
        return self.workspace / self.project["name"] / "prod_00"

    @property
    def admin_kit(self) -> Path:
        """The kit of the project admin, with which jobs are submitted."""
        return self.kits / names(self.project, "admin", role="project_admin")[0]

    @property
    def sites(self) -> list[str]:
        """The hospitals that take part."""
        return names(self.project, "client")

    @property
    def port(self) -> int:
        """The server's only port."""
        return server_port(self.project)

    @property
    def data(self) -> Path:
        """The folder that held the hospitals' data when the kits were made."""
        return Path(read_json(self.work / "data.json")["data"])

    @property
    def project_file(self) -> Path:
        """What FLARE made the kits from: JSON, which is YAML."""
        return self.work / "project.json"

    @property
    def project(self) -> dict[str, Any]:
        """The project file's content. Raises ``InputError`` when there is none."""
        if not self.project_file.is_file():
            raise InputError(f"There is no federation in {self.work}. poc/up.sh or poc/provision.sh makes one.")
        return read_json(self.project_file)

    @property
    def running(self) -> bool:
        """Whether any process of it lives."""
        return bool(processes_of(self.workspace))

    def remember(self, project: dict[str, Any], data: Path) -> None:
        """Write down who takes part and where the data is."""
        write_json(self.project_file, project)
        write_json(self.work / "data.json", {"data": str(data.resolve())})

    def describe(self) -> str:
        """Port and hospitals in words."""
        return f"a server at port {self.port} and {len(self.sites)} hospitals ({', '.join(self.sites)})"

    def down(self) -> int:
        """Stop everything, running jobs too; returns how many processes did not go when asked and were ended."""
        if holder_of(self.port) is None:  # nobody to ask
            return end_processes(self.workspace)
        try:
            # It says that it connects, and prints the trace of an answer that a busy server gave too late.
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                shutdown_system(str(self.kits), self.admin_kit.name, verbose=False)
        except Exception:
            # A server that is half up or hangs: whatever it says, nothing of it may stay.
            return end_processes(self.workspace)
        return 0 if gone_within(self.workspace, _STOP_SECONDS) else end_processes(self.workspace)

    def nvflare(self, *words: str, **environment: str) -> str:
        """Run one of FLARE's commands on this federation; returns what it printed.

        Raises:
            FederationFailed: it failed.
        """
        done = subprocess.run(
            [sys.executable, "-m", "nvflare.cli", *words],
            env={**this_python_first(), "NVFLARE_POC_WORKSPACE": str(self.workspace.resolve()), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Ctrl-C while a job is watched must not reach the federation.
            start_new_session=True,
        )
        if done.returncode != 0:
            raise FederationFailed(f"`nvflare {' '.join(words)}` failed:\n{done.stdout.strip()}")
        return done.stdout
