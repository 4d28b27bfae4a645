# SPDX-License-Identifier: Apache-2.0
"""A job in the server's job store, changed behind the back of who submitted it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from fedpac_me.storage import atomic_path, write_json

MORE_SITES_THAN_THERE_ARE = 9
"""As a job's ``min_clients``: it waits in the store."""


def wait_in_store(job: Path) -> Path:
    """Have an exported job wait for sites that do not exist; returns its folder."""
    meta = json.loads((job / "meta.json").read_text())
    write_json(job / "meta.json", {**meta, "min_clients": MORE_SITES_THAN_THERE_ARE})
    return job


def change(stored: Path, harm: Callable[[Path], None]) -> None:
    """Unpack the job that lies in the folder ``stored``, let ``harm`` have its app, and pack it again."""
    with TemporaryDirectory() as place:
        shutil.unpack_archive(stored / "data", place, "zip")
        (app,) = Path(place).glob("*/app")
        harm(app)
        packed = shutil.make_archive(f"{place}-packed", "zip", place)
        with atomic_path(stored / "data") as temporary:
            shutil.move(packed, temporary)


def release(stored: Path) -> bool:
    """Let the job wait for one site only; whether the server has taken it up."""
    meta = json.loads((stored / "meta").read_text())
    if meta["status"] != "SUBMITTED":
        return True
    if meta["min_clients"] != 1:
        write_json(stored / "meta", {**meta, "min_clients": 1})
    return False
