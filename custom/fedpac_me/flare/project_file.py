# SPDX-License-Identifier: Apache-2.0
"""FLARE's project file: who takes part in a federation, at which port."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from nvflare.lighter.utils import load_yaml

from fedpac_me.data.pooling import site_folders
from fedpac_me.errors import InputError

_ENCRYPTION_BUILDER = "nvflare.lighter.impl.he.HEBuilder"


def choose_sites(data: Path, number: int | None) -> list[str]:
    """The first ``number`` hospitals below ``data``, all by default. Raises ``InputError`` when there are fewer."""
    if not data.is_dir():
        raise InputError(f"There is no data folder {data}. Name one that holds one folder a hospital.")
    names = [folder.name for folder in site_folders(data)]
    wanted = len(names) if number is None else number
    if not 1 <= wanted <= len(names):
        raise InputError(f"{data} holds {len(names)} hospitals; a federation of {wanted} cannot be made of them.")
    return names[:wanted]


def fill_in(template: Path, sites: list[str], port: int | None) -> dict:
    """The project with these hospitals, those that it knows as it knows them, and with ``port`` if there is one."""
    project = load_yaml(str(template))
    known = {part["name"]: part for part in project["participants"] if part["type"] == "client"}
    others = [part for part in project["participants"] if part["type"] != "client"]
    for part in others:
        if part["type"] == "server" and port is not None:
            part["fed_learn_port"] = port
    clients = [known.get(site, {"name": site, "type": "client", "org": re.sub(r"\W", "_", site)}) for site in sites]
    return {**project, "participants": [*others, *clients]}


def with_encryption_context(project: dict) -> dict:
    """The project with FLARE's builder of contexts for homomorphic encryption, before the one that signs what is built.

    Raises:
        InputError: TenSEAL, which the builder needs, is not installed.
    """
    if find_spec("tenseal") is None:
        raise InputError("A context for homomorphic encryption needs TenSEAL: pip install 'nvflare[he]~=2.9.0'.")
    *others, signature = project["builders"]
    return {**project, "builders": [*others, {"path": _ENCRYPTION_BUILDER}, signature]}


def names(project: dict, kind: str, **wanted: str) -> list[str]:
    """Participants of a kind (``server``, ``client`` or ``admin``), for instance those with ``role="lead"``."""
    return [
        part["name"]
        for part in project["participants"]
        if part["type"] == kind and all(part.get(key) == value for key, value in wanted.items())
    ]


def server_port(project: dict) -> int:
    """The one port that the others must reach."""
    return next(part["fed_learn_port"] for part in project["participants"] if part["type"] == "server")
