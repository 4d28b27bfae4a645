# SPDX-License-Identifier: Apache-2.0
"""FLARE's project file: who takes part in a federation, at which port."""

from __future__ import annotations

import re
from pathlib import Path

from nvflare.lighter.utils import load_yaml

from fedpac_me.data.pooling import site_folders
from fedpac_me.errors import InputError


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
