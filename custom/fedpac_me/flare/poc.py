# SPDX-License-Identifier: Apache-2.0
"""FLARE's POC mode with this project's hospitals and data: a federation to try things on, made new at each start."""

from __future__ import annotations

from pathlib import Path

from fedpac_me.flare.kits import configure_kit, write_settings_of_all
from fedpac_me.flare.local_federation import LocalFederation
from fedpac_me.flare.processes import end_processes, require_free_port
from fedpac_me.flare.project_file import choose_sites, fill_in, server_port
from fedpac_me.flare.readiness import wait_until_ready


def start_poc(federation: LocalFederation, template: Path, data: Path, number: int | None, port: int | None) -> None:
    """Prepare kits for the first ``number`` hospitals of ``data``, start everything and wait until all are there.

    Raises:
        InputError: there are fewer hospitals, or the port is taken.
        FederationFailed: FLARE says no; nothing is left running.
    """
    project = fill_in(template, choose_sites(data, number), port)
    require_free_port(server_port(project), "which the server needs")
    federation.remember(project, data)
    # Preparing registers the kits in the user's ~/.nvflare and makes them the active ones: not here.
    home = federation.work.resolve() / "home"
    home.mkdir(parents=True, exist_ok=True)
    federation.nvflare("poc", "prepare", "-i", str(federation.project_file), "--force", HOME=str(home))
    for kit in federation.kits.iterdir():
        configure_kit(kit)
    write_settings_of_all(federation.kits, federation.sites, data)
    try:
        federation.nvflare("poc", "start", "--no-wait")
        wait_until_ready(federation, federation.sites)
    except BaseException:
        end_processes(federation.workspace)
        raise
