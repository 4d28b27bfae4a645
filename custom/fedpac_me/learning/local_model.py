# SPDX-License-Identifier: Apache-2.0
"""The shared part of a site's model as its last round of training left it, on the site's disk until the server asks.

Only runs with ``evaluation.local_models`` write it. In a simulator with fewer threads than sites the process that
trained is gone when the server asks, so it cannot stay in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedpac_me.array_file import read_arrays, write_arrays
from fedpac_me.errors import InputError

_NAME = "local_model.npz"


def save_local_model(folder: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Write ``weights`` by name, atomically. Raises ``OSError``."""
    write_arrays(folder / _NAME, weights)


def load_local_model(folder: Path) -> dict[str, np.ndarray] | None:
    """What was written; ``None`` when nothing was. Raises ``InputError`` when the file is damaged."""
    path = folder / _NAME
    if not path.is_file():
        return None
    try:
        return read_arrays(path)
    except ValueError as error:
        raise InputError(f"The site's model {path} cannot be read ({error}). Delete it to submit none.") from None
