# SPDX-License-Identifier: Apache-2.0
"""From a case's files to one checked, normalised scan in memory."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel
import numpy as np
from monai.transforms import NormalizeIntensity

from fedpac_me.data.layouts import Case, require_complete
from fedpac_me.data.nifti import ORIENTATION, Volume, grid_difference, read_volume, resampled, to_file_axes
from fedpac_me.data.style import style_vector
from fedpac_me.errors import InputError
from fedpac_me.labels import MODALITIES

_normalise = NormalizeIntensity(nonzero=True, channel_wise=True)


@dataclass(frozen=True)
class Scan:
    """A case cut to the box of its brain. However its files' axes lie, here D, H, W run left, back, up (LPS).

    Attributes:
        image: CDHW float32, channels as ``MODALITIES``, z-scored inside the brain, zero outside and where absent.
        present: C bool, false where the case lacks the modality.
        labels: DHW uint8, of ``labels.LABELS``, or ``None`` for a scan without segmentation.
        box: where ``image`` lies in the full volume.
        shape: DHW of the full volume.
        affine: 4×4 of the full volume.
        style: what the router goes by, see ``data.style``.
        file_orientation: how the axes of the first image's file lie, see ``data.nifti``.
    """

    image: np.ndarray
    present: np.ndarray
    labels: np.ndarray | None
    box: tuple[slice, slice, slice]
    shape: tuple[int, int, int]
    affine: np.ndarray
    style: np.ndarray
    file_orientation: np.ndarray

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel, D, H, W."""
        return tuple(float(edge) for edge in nibabel.affines.voxel_sizes(self.affine))

    def uncrop(self, volume: np.ndarray) -> np.ndarray:
        """Lay a DHW volume of the box's size into a full-size one that is zero elsewhere."""
        full = np.zeros(self.shape, dtype=volume.dtype)
        full[self.box] = volume
        return full

    def to_file_axes(self, volume: np.ndarray) -> np.ndarray:
        """A full-size DHW volume in the axes of the first image's file: what can be written beside it."""
        return to_file_axes(volume, self.file_orientation)


def load_scan(case: Case, max_missing: int, need_seg: bool = True, resample: bool = False) -> Scan:
    """Read, check and normalise one case. With ``resample`` files on another grid are put on the first image's.

    Raises:
        InputError: a file is missing or cannot be read, disagrees in shape or affine with the first image, holds NaN
            or nothing but one value, has no background of zeros, or the segmentation has labels that are not those of
            the data set.
    """
    require_complete(case, max_missing, need_seg)
    volumes = {modality: read_volume(path) for modality, path in case.images.items()}
    reference = next(iter(volumes))
    grid = volumes[reference]
    image = np.zeros((len(MODALITIES), *grid.data.shape), dtype=np.float32)
    for modality, volume in volumes.items():
        _require_image(case.id, modality, volume.data)
        aligned = _on_grid(case.id, (reference, grid), (modality, volume), 1 if resample else None)
        image[MODALITIES.index(modality)] = aligned.data
    labels = _read_labels(case, (reference, grid), resample) if need_seg else None

    box = _bounding_box(np.any(image != 0, axis=0))
    cropped = np.ascontiguousarray(image[(slice(None), *box)])
    present = np.array(case.present)
    style = style_vector(cropped, present)  # before normalising, which works in place
    return Scan(
        image=np.asarray(_normalise(cropped), dtype=np.float32),
        present=present,
        labels=None if labels is None else np.ascontiguousarray(labels[box]),
        box=box,
        shape=grid.data.shape,
        affine=grid.affine,
        style=style,
        file_orientation=grid.file_orientation,
    )


def _read_labels(case: Case, grid: tuple[str, Volume], resample: bool) -> np.ndarray:
    """The segmentation, DHW uint8, checked before it is resampled: an unknown label must not get lost on the way."""
    seg = read_volume(case.seg)
    seg = Volume(case.scheme.to_internal(seg.data, case.id), seg.affine, seg.file_orientation)
    return _on_grid(case.id, grid, ("seg", seg), 0 if resample else None).data


def _on_grid(case_id: str, one: tuple[str, Volume], other: tuple[str, Volume], order: int | None) -> Volume:
    """The ``other`` volume where it lies on the grid of ``one``, else resampled with a spline of ``order``, if any."""
    (name, grid), (other_name, volume) = one, other
    difference = grid_difference(grid, volume)
    if difference is None:
        return volume
    if order is None:
        shapes = f"{name} has shape {grid.data.shape} but {other_name} has {volume.data.shape}"
        facts = {
            "shape": f"{shapes} (axes in {ORIENTATION} order)",
            "affine": f"{name} and {other_name} have different affines (origin, voxel size or direction)",
        }
        raise InputError(
            f"Case {case_id}: {facts[difference]}. All files of a case must lie on one grid: replace the odd one, or "
            "set data.resample to true, which puts it on the first image's."
        )
    moved = resampled(volume, grid, order)
    if np.any(volume.data) and not np.any(moved.data):
        raise InputError(
            f"Case {case_id}: nothing of {other_name} is left on the grid of {name}. The two lie in different places; "
            "register them or repair the affine."
        )
    return moved


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
    background = _background(data)
    if background != 0:
        raise InputError(
            f"Case {case_id}: the background of {modality} is {background:g} rather than 0, to judge by its outermost "
            "voxels, so that it would count as brain. Expected are skull-stripped images; set everything outside the "
            "brain to 0."
        )


def _background(data: np.ndarray) -> float:
    """The most common value on the six faces of a volume (DHW): a brain touches them at most here and there."""
    faces = np.concatenate([np.moveaxis(data, axis, 0)[end].ravel() for axis in range(3) for end in (0, -1)])
    if 2 * np.count_nonzero(faces) < faces.size:
        return 0.0  # the usual case, without a sort
    values, counts = np.unique(faces, return_counts=True)
    return float(values[counts.argmax()])


def _bounding_box(mask: np.ndarray) -> tuple[slice, slice, slice]:
    def extent(axis: int) -> slice:
        hits = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        return slice(int(hits[0]), int(hits[-1]) + 1)

    return extent(0), extent(1), extent(2)
