# SPDX-License-Identifier: Apache-2.0
"""What this project puts into a FLARE kit: where a site's data is, and leave to use the installed package."""

from __future__ import annotations

from pathlib import Path

from nvflare.app_common.default_component_policy import DEFAULT_CLASS_ALLOW_LIST
from nvflare.app_common.widgets.component_path_authorizer import CLASS_ALLOW_LIST

from fedpac_me.data.site import SETTINGS_FILE, SiteSettings
from fedpac_me.storage import read_json, write_json

PACKAGE = "fedpac_me."
"""FLARE reads an entry that ends in a dot as everything below."""

_RESOURCES = "resources.json"


def write_settings(kit: Path, settings: SiteSettings) -> None:
    """Write ``fedpac_me.json`` into the kit's ``local`` folder, every key spelled out so that it can be edited."""
    write_json(kit / "local" / SETTINGS_FILE, settings.model_dump(mode="json", exclude_none=True))


def allow_installed_package(kit: Path) -> None:
    """Add this package to the classes that a job without code of its own may use at the kit's site or server.

    A ``resources.json`` replaces FLARE's ``resources.json.default``, so it starts as a copy of that.
    """
    resources = _resources(kit / "local")
    allowed = resources.setdefault(CLASS_ALLOW_LIST, list(DEFAULT_CLASS_ALLOW_LIST))
    if PACKAGE not in allowed:
        allowed.append(PACKAGE)
    write_json(kit / "local" / _RESOURCES, resources)


def _resources(local: Path) -> dict:
    for name in (_RESOURCES, f"{_RESOURCES}.default"):
        if (local / name).is_file():
            return read_json(local / name)
    return {"format_version": 2}
