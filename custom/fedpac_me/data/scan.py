# SPDX-License-Identifier: Apache-2.0
"""From a case's files to one checked, normalised scan in memory."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from monai.transforms import NormalizeIntensity

from fedpac_me.data.layouts import Case, require_complete
from fedpac_me.data.style import style_vector
from fedpac_me.errors import InputError
from fedpac_me.labels import LABELS, MODALITIES

_AFFINE_TOLERANCE_MM = 1e-3
_normalise = NormalizeIntensity(nonzero=True, channel_wise=True)


@dataclass(frozen=True)
class Scan:
    """A case cut to the box of its brain.

    Attributes:
        image: CDHW float32, channels as ``MODALITIES``, z-scored inside the brain, zero outside and where absent.
        present: C bool, false where the case lacks the modality.
        labels: DHW uint8 BraTS labels, or ``None`` for a scan without segmentation.
        box: where ``image`` lies in the full volume.
        shape: DHW of the full volume.
        affine: 4×4 of the full volume, as in the input files.
        style: what the router goes by, see ``data.style``.
    """

    image: np.ndarray
    present: np.ndarray
    labels: np.ndarray | None
    box: tuple[slice, slice, slice]
    shape: tuple[int, int, int]
    affine: np.ndarray
    style: np.ndarray

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel."""
        return tuple(float(edge) for edge in nibabel.affines.voxel_sizes(self.affine))

    def uncrop(self, volume: np.ndarray) -> np.ndarray:
        """Lay a DHW volume of the box's size into a full-size one that is zero elsewhere."""
        full = np.zeros(self.shape, dtype=volume.dtype)
        full[self.box] = volume
        return full


def load_scan(case: Case, max_missing: int, need_seg: bool = True) -> Scan:
    """Read, check and normalise one case.

    Raises:
        InputError: a file is missing, cannot be read, disagrees in shape or affine with the others, holds
            NaN or nothing but one value, or the segmentation has labels other than 0, 1, 2, 4.
    """
    require_complete(case, max_missing, need_seg)
    volumes = {modality: _read(path) for modality, path in case.images.items()}
    reference = next(iter(volumes))
    shape, affine = volumes[reference][0].shape, volumes[reference][1]
    for modality, (data, other_affine) in volumes.items():
        _require_same_grid(case.id, (reference, shape, affine), (modality, data.shape, other_affine))
        _require_image(case.id, modality, data)
    labels = _read_labels(case, (reference, shape, affine)) if need_seg else None

    image = np.zeros((len(MODALITIES), *shape), dtype=np.float32)
    for modality, (data, _) in volumes.items():
        image[MODALITIES.index(modality)] = data
    box = _bounding_box(np.any(image != 0, axis=0))
    cropped = np.ascontiguousarray(image[(slice(None), *box)])
    present = np.array(case.present)
    style = style_vector(cropped, present)  # before normalising, which works in place
    return Scan(
        image=np.asarray(_normalise(cropped), dtype=np.float32),
        present=present,
        labels=None if labels is None else np.ascontiguousarray(labels[box]),
        box=box,
        shape=shape,
        affine=affine,
        style=style,
    )


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        file = nibabel.load(path)
        return np.asanyarray(file.dataobj), file.affine
    except (OSError, EOFError, ValueError, zlib.error, nibabel.filebasedimages.ImageFileError) as error:
        raise InputError(
            f"{path} cannot be read: {error}. The file looks truncated or is not NIfTI; copy it again."
        ) from None


def _read_labels(case: Case, grid: tuple[str, tuple, np.ndarray]) -> np.ndarray:
    data, affine = _read(case.seg)
    _require_same_grid(case.id, grid, ("seg", data.shape, affine))
    unknown = sorted(set(np.unique(data).tolist()) - set(LABELS))
    if unknown:
        values = ", ".join(f"{value:g}" for value in unknown[:5])
        raise InputError(
            f"Case {case.id} has unknown labels in its segmentation: {values}. "
            "Expected only 0, 1, 2 and 4 (BraTS up to 2022)."
        )
    return data.astype(np.uint8)


def _require_same_grid(case_id: str, one: tuple[str, tuple, np.ndarray], other: tuple[str, tuple, np.ndarray]) -> None:
    (name, shape, affine), (other_name, other_shape, other_affine) = one, other
    if len(shape) != 3 or shape != other_shape:
        raise InputError(
            f"Case {case_id}: {name} has shape {shape} but {other_name} has {other_shape}. "
            "All files of a case must be volumes on one grid; resample or replace the odd one."
        )
    if not np.allclose(affine, other_affine, atol=_AFFINE_TOLERANCE_MM):
        raise InputError(
            f"Case {case_id}: {name} and {other_name} have different affines. All files of a case must lie on one grid."
        )


def _require_image(case_id: str, modality: str, data: np.ndarray) -> None:
    if not np.issubdtype(data.dtype, np.number) or np.iscomplexobj(data):
        raise InputError(f"Case {case_id}: {modality} holds {data.dtype} values; expected integers or floats.")
    if not np.all(np.isfinite(data)):
        raise InputError(f"Case {case_id}: {modality} holds NaN or infinite voxels. Repair or remove the case.")
    if not np.any(data):
        raise InputError(
            f"Case {case_id}: {modality} is zero everywhere. "
            "Remove the file: a missing modality is handled, an empty one is not."
        )
    inside = data[data != 0]
    if inside.min() == inside.max():
        raise InputError(
            f"Case {case_id}: {modality} has the same value everywhere in the brain, so it shows nothing. "
            "Replace or remove the file: a missing modality is handled, an empty one is not."
        )


def _bounding_box(mask: np.ndarray) -> tuple[slice, slice, slice]:
    def extent(axis: int) -> slice:
        hits = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        return slice(int(hits[0]), int(hits[-1]) + 1)

    return extent(0), extent(1), extent(2)
