# SPDX-License-Identifier: Apache-2.0
"""What belongs to a site and never travels in a job: its data folder, its role, its device.

Read from the first of these that exists:

1. ``fedpac_me.json`` in the ``local`` folder of the site's FLARE kit;
2. ``$FEDPAC_ME_DATA/<site name>`` when that folder exists, as in the simulator, else ``$FEDPAC_ME_DATA``;
3. in the simulator only: ``data/phantom/<site name>``.

Relative folders are relative to where the user stood when starting, ``$PWD``: FLARE changes the working folder.

A data folder may hold ``site.json`` (the same keys) and ``splits.json`` (see ``fedpac_me.data.splits``). Where several
sites of a simulation share one data folder, the ``splits`` of each says which of its cases are the site's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from fedpac_me.data.layouts import LayoutKey
from fedpac_me.errors import InputError, why_invalid

SETTINGS_FILE = "fedpac_me.json"
DATA_VARIABLE = "FEDPAC_ME_DATA"
PHANTOM_FOLDER = Path("data/phantom")


class NoSettings(InputError):
    """Nothing says where a site's data is. The words name the site and nothing else, so they may leave it."""


class SiteSettings(BaseModel):
    """Settings of one site; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: tuple[Path, ...]
    role: Literal["train", "evaluate", "pooled"] = "train"
    """``pooled`` exists in simulations of central training only: see ``fedpac_me.data.pooling``."""
    device: str = "auto"
    splits: Path | None = None
    """A file as ``splits.json`` that stands for those of all data folders; cases it does not list are another's."""
    layout: LayoutKey | None = None
    """How its files are named; detected case by case where the settings do not say."""
    cache: Path | None = None
    """Where prepared scans stay from job to job; otherwise each job makes its own and deletes them."""


def find_settings(
    site: str, kit: Path | None = None, simulated: bool = False, environment: Mapping[str, str] = os.environ
) -> SiteSettings:
    """Settings of ``site``; ``kit`` is the ``local`` folder of its FLARE kit.

    Raises:
        NoSettings: nothing says where the data is.
        InputError: a settings file is wrong.
    """
    if kit is not None and (kit / SETTINGS_FILE).is_file():
        return read_settings(kit / SETTINGS_FILE)
    start = Path(environment.get("PWD", "."))
    if environment.get(DATA_VARIABLE):
        root = start / environment[DATA_VARIABLE]
        return folder_settings(root / site if (root / site).is_dir() else root)
    if simulated:
        return folder_settings(start / PHANTOM_FOLDER / site)
    raise NoSettings(
        f'Site {site} does not say where its data is. Put {SETTINGS_FILE} with {{"data": "/path/to/cases"}} '
        f"into the local folder of its FLARE kit, or set {DATA_VARIABLE}."
    )


def folder_settings(folder: Path) -> SiteSettings:
    """Settings of a data folder: its ``site.json`` if it has one, else the defaults."""
    path = folder / "site.json"
    return read_settings(path) if path.is_file() else SiteSettings(data=(folder,))


def read_settings(path: Path) -> SiteSettings:
    """Read a settings file; its relative paths are relative to it, and its own folder is the default for the data.

    Raises:
        InputError: not JSON, an unknown key or a wrong value.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        folders = content.pop("data", ".")
        folders = [folders] if isinstance(folders, str) else folders
        for name in ("splits", "cache"):
            if content.get(name) is not None:
                content[name] = path.parent / content[name]
        return SiteSettings(data=tuple(path.parent / folder for folder in folders), **content)
    except (OSError, ValueError, AttributeError, TypeError, ValidationError) as error:
        raise InputError(f"{path} is not a valid site settings file: {why_invalid(error)}.") from None
