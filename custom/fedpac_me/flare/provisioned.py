# SPDX-License-Identifier: Apache-2.0
"""Kits as they go to hospitals, and a rehearsal with them on one machine before they do."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from fedpac_me.errors import InputError
from fedpac_me.flare.kits import configure_kit, is_server, is_site, write_settings_of_all
from fedpac_me.flare.local_federation import LocalFederation
from fedpac_me.flare.processes import can_bind, end_processes, require_free_port, this_python_first
from fedpac_me.flare.project_file import choose_sites, fill_in, with_encryption_context
from fedpac_me.flare.readiness import wait_until_ready


def provision(
    federation: LocalFederation,
    template: Path,
    data: Path,
    number: int | None,
    port: int | None,
    encryption: bool = False,
) -> None:
    """Make a kit for every participant, the sites' pointing to the folders of ``data``.

    Args:
        encryption: put a context for homomorphic encryption into the kits of server and sites.

    Raises:
        InputError: there are kits already, fewer hospitals in ``data``, or no TenSEAL for the encryption.
        FederationFailed: FLARE says no.
    """
    if federation.workspace.exists():
        raise InputError(
            f"{federation.workspace} holds kits already, and new ones would not speak with them. "
            "Delete the folder if none of them is in use, or choose another --work."
        )
    project = fill_in(template, choose_sites(data, number), port)
    if encryption:
        project = with_encryption_context(project)
    federation.remember(project, data)
    words = ("-p", str(federation.project_file), "-w", str(federation.workspace))
    federation.nvflare("provision", *words)
    for kit in federation.kits.iterdir():
        configure_kit(kit)
    write_settings_of_all(federation.kits, federation.sites, data)


def rehearse(federation: LocalFederation, say: Callable[[str], None]) -> None:
    """Check every kit with FLARE's preflight check, start server and sites, and wait until all sites are there.

    Raises:
        InputError: the port is taken, or was until a moment ago.
        FederationFailed: a kit fails its check or a site does not come; nothing is left running.
    """
    require_free_port(federation.port, "which the server needs")
    if not can_bind(federation.port):
        raise InputError(
            f"Port {federation.port} was in use until a moment ago. The system keeps it for up to a minute, in which "
            "FLARE's check of the server would fail; start again after that."
        )
    try:
        # The server's check binds its port, the others' look for the running server.
        for kit in sorted(federation.kits.iterdir(), key=lambda kit: (not is_server(kit), is_site(kit), kit.name)):
            federation.nvflare("preflight-check", "-p", str(kit))
            say(f"Preflight check passed: {kit.name}")
            if is_server(kit):
                start_kit(kit)
                wait_until_ready(federation, [])
        for site in federation.sites:
            start_kit(federation.kits / site)
        wait_until_ready(federation, federation.sites)
    except BaseException:
        end_processes(federation.workspace)
        raise


def start_kit(kit: Path, through: Sequence[str] = ()) -> None:
    """Run the kit's own start script, which stays behind and keeps its process alive.

    ``through``: a command in front of it, such as one that enters another network.
    """
    with open(kit / "console.log", "ab") as log:
        subprocess.run(
            [*through, str(kit.resolve() / "startup" / "start.sh")],
            env=this_python_first(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=True,
            start_new_session=True,
        )
