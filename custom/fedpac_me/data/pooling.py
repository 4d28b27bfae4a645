# SPDX-License-Identifier: Apache-2.0
"""A data root in which one more site owns every training hospital's cases: the central upper bound.

Nothing is copied: the folders hold only ``site.json`` files that point at the hospitals' own.
"""

from __future__ import annotations

from pathlib import Path

from fedpac_me.data.site import folder_settings
from fedpac_me.storage import write_json

POOLED_SITE = "pooled"


def site_folders(root: Path) -> list[Path]:
    """The hospitals below a data root, by name."""
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def write_pooled_root(root: Path, out: Path) -> None:
    """Write into ``out`` a data root with the hospitals of ``root`` and the site ``pooled`` beside them."""
    training: list[str] = []
    for folder in site_folders(root):
        settings = folder_settings(folder)
        data = [str(path.resolve()) for path in settings.data]
        write_json(out / folder.name / "site.json", {"data": data, "role": settings.role})
        if settings.role == "train":
            training += data
    write_json(out / POOLED_SITE / "site.json", {"data": training, "role": "pooled"})
