# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: what it may be called, and that none is overwritten unasked."""

from __future__ import annotations

import shutil
from pathlib import Path

from fedpac_me.errors import InputError


def require_name(name: str) -> None:
    """Raise ``InputError`` unless ``name`` can be a folder and a FLARE job."""
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise InputError(f"The name '{name}' must consist of letters, digits, '-' and '_'.")


def require_free(run: Path, replace: bool) -> None:
    """Raise ``InputError`` when ``run`` exists and is not to be replaced."""
    if run.exists() and not replace:
        raise InputError(f"The run {run} exists already. Choose another --name, or pass --replace to delete it first.")


def make_room(run: Path, replace: bool) -> None:
    """Delete ``run`` where it exists and is to be replaced, and say so."""
    if replace and run.exists():
        print(f"Replacing {run}, as --replace asks.")
        shutil.rmtree(run)
