# SPDX-License-Identifier: Apache-2.0
"""What belongs to a site and never travels in a job: its data folder, its role, its device.

Read from the first of these that exists:

1. ``fedpac_me.json`` in the ``local`` folder of the site's FLARE kit;
2. ``$FEDPAC_ME_DATA/<site name>`` when that folder exists, as in the simulator, else ``$FEDPAC_ME_DATA``;
3. in the simulator only: ``data/phantom/<site name>``.

Relative folders are relative to where the user stood when starting, ``$PWD``: FLARE changes the working folder.
Lines of a settings file that begin with ``//`` are comments: a copy of ``fedpac_me.json.sample`` is a valid one.

A data folder may hold ``site.json`` (the same keys) and ``splits.json`` (see ``fedpac_me.data.splits``). Where several
sites of a simulation share one data folder, the ``splits`` of each says which of its cases are the site's.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from fedpac_me.data.layouts import LayoutKey
from fedpac_me.errors import InputError, why_invalid

SETTINGS_FILE = "fedpac_me.json"
DATA_VARIABLE = "FEDPAC_ME_DATA"
PHANTOM_FOLDER = Path("data/phantom")
_COMMENT = re.compile(r"^[ \t]*//.*$", re.MULTILINE)


class NoSettings(InputError):
    """Nothing says where a site's data is. The words name the site and nothing else, so they may leave it."""


class SiteSettings(BaseModel):
    """Settings of one site; unknown keys are refused.

    What stands below each is also what ``fedpac_me.json.sample`` says of it: see ``fedpac_me.data.site_sample``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    data: tuple[Path, ...]
    """One folder, or a list of them, each with one folder a case. Only read, never written to."""
    role: Literal["train", "evaluate", "pooled"] = "train"
    """"train", or "evaluate" for a site that receives and tests every model and never trains."""
    # "pooled" exists in simulations of central training only: see fedpac_me.data.pooling.
    device: str = "auto"
    """A torch device such as "cpu" or "cuda:1"; "auto" takes CUDA where there is some."""
    ranks: PositiveInt = 1
    """Processes that share each batch of the training, a GPU each, from the one in device upwards. The job's
    learning.batch must be a multiple of it; not every method can be shared. On a CPU it is for trying it out."""
    layout: LayoutKey | None = None
    """How the files are named: "up-to-2022" (_t1 _t1ce _t2 _flair) or "from-2023" (-t1n -t1c -t2w -t2f), for folders
    with files of both; null finds it out case by case."""
    splits: Path | None = None
    """A file as splits.json that stands for those of all data folders; cases it does not list are not the site's. null:
    each data folder's splits.json, or a hash of each case's id where there is none."""
    cache: Path | None = None
    """Where prepared scans, which are images of patients, stay from job to job; choose a folder that is protected as
    the data is. null: each job makes its own in its folder and deletes them at its end."""
    states: Path | None = None
    """Where the optimiser's state and the site's own part of the model stay, from which a later job goes on. null:
    fedpac_me_states in the kit, which a job in a container cannot see."""


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
        # A string of JSON never goes over a line's end, so a line that begins so is no part of one.
        content = json.loads(_COMMENT.sub("", path.read_text(encoding="utf-8")))
        folders = content.pop("data", ".")
        folders = [folders] if isinstance(folders, str) else folders
        for name in ("splits", "cache", "states"):
            if content.get(name) is not None:
                content[name] = path.parent / content[name]
        return SiteSettings(data=tuple(path.parent / folder for folder in folders), **content)
    except (OSError, ValueError, AttributeError, TypeError, ValidationError) as error:
        raise InputError(f"{path} is not a valid site settings file: {why_invalid(error)}.") from None
