# SPDX-License-Identifier: Apache-2.0
"""Named arrays in one file, NumPy's ``.npz``: plain numbers with a checksum (CRC-32) each, and never an object.

An array of objects would be stored as code that runs when it is read; it is refused on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from numpy.lib import format as npy

from fedpac_me.storage import atomic_path

_SUFFIX = ".npy"


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write ``arrays``, atomically. Raises ``OSError``, and ``ValueError`` for an array of objects."""
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise ValueError(f"The array '{name}' holds objects; only plain numbers are written.")
    with atomic_path(path) as temporary, ZipFile(temporary, "w") as archive:
        # As `np.savez` does it, which takes names for keywords and so cannot write an array called "file".
        for name, array in arrays.items():
            with archive.open(f"{name}{_SUFFIX}", "w", force_zip64=True) as member:
                npy.write_array(member, array)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What ``write_arrays`` wrote.

    Raises ``ValueError``, which says why but not which file, when it is missing, damaged, or something else.
    """
    try:
        with ZipFile(path) as archive:
            return {name.removesuffix(_SUFFIX): _read(archive, name) for name in archive.namelist()}
    except Exception as error:  # a damaged archive can raise nearly anything
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _read(archive: ZipFile, name: str) -> np.ndarray:
    # Of numbers alone: NumPy's format refuses objects unless it is asked for them.
    with archive.open(name) as member:
        return npy.read_array(member)
