# SPDX-License-Identifier: Apache-2.0
"""The shared part of a site's model as its last round of training left it, on the site's disk until the server asks.

Only runs with ``evaluation.local_models`` write it. In a simulator with fewer threads than sites the process that
trained is gone when the server asks, so it cannot stay in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedpac_me.errors import InputError
from fedpac_me.storage import atomic_path

_NAME = "local_model.npz"


def save_local_model(folder: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Write ``weights`` by name, atomically. Raises ``OSError``."""
    with atomic_path(folder / _NAME) as temporary, open(temporary, "wb") as file:
        np.savez(file, **weights)


def load_local_model(folder: Path) -> dict[str, np.ndarray] | None:
    """What was written; ``None`` when nothing was. Raises ``InputError`` when the file is damaged."""
    path = folder / _NAME
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except Exception as error:
        raise InputError(
            f"The site's model {path} cannot be read ({type(error).__name__}). Delete it to submit none."
        ) from None
