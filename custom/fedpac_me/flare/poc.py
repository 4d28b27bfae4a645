# SPDX-License-Identifier: Apache-2.0
"""A whole federation on this machine as separate processes: FLARE's POC mode with this project's data and names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from fedpac_me.data.pooling import site_folders
from fedpac_me.data.site import folder_settings
from fedpac_me.errors import InputError
from fedpac_me.flare.kits import allow_installed_package, write_settings
from fedpac_me.flare.processes import end_processes, gone_within, processes_of, require_free_port
from fedpac_me.storage import read_json, write_json, write_text

_READY_SECONDS = 180
_STOP_SECONDS = 20.0


class FederationFailed(RuntimeError):
    """FLARE could not prepare, start or stop the federation."""


@dataclass(frozen=True)
class Poc:
    """A POC federation below one work folder, running or not."""

    work: Path

    @property
    def workspace(self) -> Path:
        """FLARE's workspace: kits, jobs, results."""
        return self.work / "workspace"

    @property
    def kits(self) -> Path:
        """One folder a participant."""
        return self.workspace / self.project()["name"] / "prod_00"

    @property
    def admin_kit(self) -> Path:
        """The kit of the project admin, with which jobs are submitted."""
        return self.kits / _names(self.project(), "admin", role="project_admin")[0]

    @property
    def sites(self) -> list[str]:
        """The hospitals that take part."""
        return _names(self.project(), "client")

    @property
    def data(self) -> Path:
        """The folder that held the hospitals' data when the federation was prepared."""
        return Path(read_json(self.work / "data.json")["data"])

    @property
    def running(self) -> bool:
        """Whether any process of it lives."""
        return bool(processes_of(self.workspace))

    def project(self) -> dict:
        """FLARE's project file, as it was prepared. Raises ``InputError`` when nothing was."""
        path = self.work / "project.yml"
        if not path.is_file():
            raise InputError(f"There is no federation in {self.work}. poc/up.sh makes one.")
        return yaml.safe_load(path.read_text(encoding="utf-8"))

    def up(self, template: Path, data: Path, number: int | None, port: int | None) -> None:
        """Prepare kits for the first ``number`` hospitals of ``data``, start everything and wait until all are there.

        Raises:
            InputError: there are fewer hospitals, or the port is taken.
            FederationFailed: FLARE says no; nothing is left running.
        """
        project = _project(template, _chosen(data, number), port)
        server = next(part for part in project["participants"] if part["type"] == "server")
        require_free_port(server["fed_learn_port"], "which the server needs")
        write_text(self.work / "project.yml", yaml.safe_dump(project, sort_keys=False))
        write_json(self.work / "data.json", {"data": str(data.resolve())})
        # Preparing registers the kits in the user's ~/.nvflare and makes them the active ones: not here.
        self._nvflare("prepare", "-i", str(self.work / "project.yml"), "--force", HOME=str(self._home()))
        for kit in self.kits.iterdir():
            if (kit / "startup" / "start.sh").is_file():
                allow_installed_package(kit)
        for site in self.sites:
            write_settings(self.kits / site, folder_settings(data.resolve() / site))
        try:
            self._nvflare("start", "--timeout", str(_READY_SECONDS))
        except BaseException:
            end_processes(self.workspace)
            raise

    def down(self) -> int:
        """Stop everything; returns how many processes did not go by themselves and were ended."""
        try:
            self._nvflare("stop")
        except FederationFailed:
            return end_processes(self.workspace)
        return 0 if gone_within(self.workspace, _STOP_SECONDS) else end_processes(self.workspace)

    def _home(self) -> Path:
        home = self.work.resolve() / "home"
        home.mkdir(parents=True, exist_ok=True)
        return home

    def _nvflare(self, command: str, *words: str, **environment: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "nvflare.cli", "poc", command, *words],
            env={**os.environ, "NVFLARE_POC_WORKSPACE": str(self.workspace.resolve()), **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Ctrl-C while a job is watched must not reach the federation.
            start_new_session=True,
        )
        if done.returncode != 0:
            raise FederationFailed(f"`nvflare poc {command}` failed:\n{done.stdout.strip()}")


def _chosen(data: Path, number: int | None) -> list[str]:
    if not data.is_dir():
        raise InputError(f"There is no data folder {data}. Name one that holds one folder a hospital.")
    names = [folder.name for folder in site_folders(data)]
    wanted = len(names) if number is None else number
    if not 1 <= wanted <= len(names):
        raise InputError(f"{data} holds {len(names)} hospitals; a federation of {wanted} cannot be made of them.")
    return names[:wanted]


def _project(template: Path, sites: list[str], port: int | None) -> dict:
    """The project file with these hospitals, those that it knows as it knows them."""
    project = yaml.safe_load(template.read_text(encoding="utf-8"))
    known = {part["name"]: part for part in project["participants"] if part["type"] == "client"}
    others = [part for part in project["participants"] if part["type"] != "client"]
    for part in others:
        if part["type"] == "server" and port is not None:
            part["fed_learn_port"] = port
    clients = [known.get(site, {"name": site, "type": "client", "org": re.sub(r"\W", "_", site)}) for site in sites]
    return {**project, "participants": [*others, *clients]}


def _names(project: dict, kind: str, **wanted: str) -> list[str]:
    return [
        part["name"]
        for part in project["participants"]
        if part["type"] == kind and all(part.get(key) == value for key, value in wanted.items())
    ]
