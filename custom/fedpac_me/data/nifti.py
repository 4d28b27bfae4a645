# SPDX-License-Identifier: Apache-2.0
"""Reading a NIfTI volume into the one orientation that everything else assumes, and the way back to the file's own."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel import orientations
from nibabel.filebasedimages import ImageFileError
from nibabel.processing import resample_from_to
from nibabel.spatialimages import HeaderDataError

from fedpac_me.errors import InputError

ORIENTATION = "LPS"
"""BraTS's: the first axis of every volume in memory runs to the patient's left, the second back, the third up."""

_TARGET = orientations.axcodes2ornt(ORIENTATION)
_TOLERANCE_MM = 1e-3


@dataclass(frozen=True)
class Volume:
    """One file's voxels.

    Attributes:
        data: DHW, axes turned to ``ORIENTATION``; never interpolated. The data type is the file's.
        affine: 4×4, from voxels of ``data`` to millimetres.
        file_orientation: 3×2, nibabel's description of the file's own axes, for ``to_file_axes``.
    """

    data: np.ndarray
    affine: np.ndarray
    file_orientation: np.ndarray


def read_volume(path: Path) -> Volume:
    """Read ``path``, without its trailing axes of length 1, and turn it to ``ORIENTATION`` by its affine.

    The affine is nibabel's: the sform where its code is set, else the qform.

    Raises:
        InputError: the file cannot be read, has not three axes, or its affine says nothing about the axes.
    """
    try:
        file = nibabel.squeeze_image(nibabel.load(path))
        data, affine = np.asanyarray(file.dataobj), file.affine
    except (OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError) as error:
        raise InputError(
            f"{path} cannot be read: {error}. The file looks truncated or is not NIfTI; copy it again."
        ) from None
    if data.ndim != 3 or data.size == 0:
        raise InputError(f"{path} has shape {data.shape}; expected one volume, with three axes. Replace the file.")
    orientation = _orientation(path, affine)
    turn = orientations.ornt_transform(orientation, _TARGET)
    turned = orientations.apply_orientation(data, turn)
    return Volume(turned, affine @ orientations.inv_ornt_aff(turn, data.shape), orientation)


def to_file_axes(data: np.ndarray, file_orientation: np.ndarray) -> np.ndarray:
    """Turn a volume (DHW, ``ORIENTATION``) back to the axes of the file that ``file_orientation`` was read from."""
    turn = orientations.ornt_transform(_TARGET, file_orientation)
    return np.ascontiguousarray(orientations.apply_orientation(data, turn))


def grid_difference(one: Volume, other: Volume) -> str | None:
    """In what the grids of two volumes differ: ``shape``, ``affine``, or nothing (``None``)."""
    if one.data.shape != other.data.shape:
        return "shape"
    return None if np.allclose(one.affine, other.affine, atol=_TOLERANCE_MM) else "affine"


def resampled(volume: Volume, grid: Volume, order: int) -> Volume:
    """``volume`` on the grid of ``grid``, 0 outside its own extent; spline of ``order`` 0 (labels) or 1 (images)."""
    # Integers would be cut off, not rounded, after interpolation.
    data = volume.data if order == 0 else volume.data.astype(np.float32)
    image = resample_from_to(nibabel.Nifti1Image(data, volume.affine), (grid.data.shape, grid.affine), order=order)
    return Volume(np.asanyarray(image.dataobj), grid.affine, grid.file_orientation)


def _orientation(path: Path, affine: np.ndarray) -> np.ndarray:
    orientation = orientations.io_orientation(affine) if np.isfinite(affine).all() else np.full((3, 2), np.nan)
    if np.isnan(orientation).any():
        raise InputError(
            f"{path} has an affine that does not say how its axes lie in space: {affine[:3].tolist()}. "
            "Expected a voxel size above 0 along each axis; repair the header, or convert the images anew."
        )
    return orientation
