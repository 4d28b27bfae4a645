# SPDX-License-Identifier: Apache-2.0
"""What is odd about one case on disk: each of its files read to the end once, every oddity a finding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import nibabel
import numpy as np

from fedpac_me.data.file_findings import TurnedVolume, inspect_image, read_file, times, words
from fedpac_me.data.findings import CaseReport
from fedpac_me.data.label_scheme import SCHEMES
from fedpac_me.data.layouts import SEGMENTATION, Case
from fedpac_me.data.nifti import ORIENTATION
from fedpac_me.labels import MODALITIES, NECROTIC, OEDEMA

BRATS_SHAPE = (240, 240, 155)
_AFFINE_TOLERANCE_MM = 1e-3
_SPACING_TOLERANCE_MM = 0.01
_MOSTLY_OUTSIDE = 0.2
_TINY_MM3 = 50
"""The lesion-wise scores of BraTS 2023 leave out lesions below it."""
_TINY_SHARE = 0.0005
_KNOWN_LABELS = {NECROTIC, OEDEMA, *SCHEMES}
_SHOWN = 5


@dataclass(frozen=True)
class _Grid:
    """Where a file's voxels lie, the axes turned to LPS; ``axes`` are the file's own."""

    file: str
    shape: tuple[int, ...]
    affine: np.ndarray
    axes: str

    @classmethod
    def of(cls, file: str, volume: TurnedVolume) -> _Grid:
        return cls(file, volume.data.shape, volume.affine, volume.axes)

    def same_as(self, other: _Grid) -> bool:
        return self.shape == other.shape and np.allclose(self.affine, other.affine, atol=_AFFINE_TOLERANCE_MM)


def inspect_case(case: Case, max_missing: int, name: str | None = None) -> CaseReport:
    """Read every file of ``case``, of which up to ``max_missing`` modalities may be absent.

    The report calls the case ``name``, or its id when that is ``None``.
    """
    report = CaseReport(name or case.id)
    _inspect_completeness(report, case, max_missing)
    grids: list[_Grid] = []
    brains: list[np.ndarray] = []
    for modality, path in case.images.items():
        volume = read_file(report, modality, path)
        if volume is not None:  # not kept: of one file's voxels the next needs only where the brain is
            grids.append(_Grid.of(modality, volume))
            brains.append(inspect_image(report, modality, volume.data))
    _inspect_copies(report)
    volume = None if case.seg is None else read_file(report, SEGMENTATION, case.seg)
    if volume is not None:
        grids.append(_Grid.of(SEGMENTATION, volume))
        fitting = [brain for brain in brains if brain.shape == volume.data.shape]
        _inspect_segmentation(report, volume, reduce(np.logical_or, fitting) if fitting else None)
    if grids:
        _inspect_grids(report, grids)
    return report


def _inspect_completeness(report: CaseReport, case: Case, max_missing: int) -> None:
    missing = [modality for modality in MODALITIES if modality not in case.images]
    lacking = f"{words(missing)} {'is' if len(missing) == 1 else 'are'} missing" if missing else ""
    if len(missing) > max_missing:
        report.add(
            "error",
            "missing-modalities",
            f"{lacking}; at most {max_missing} of the four may be. Add the files, move the case out of the data "
            f"folder, or raise data.max_missing_modalities.{_other_files(case)}",
        )
    elif missing:
        report.add(
            "warning",
            "missing-modality",
            f"{lacking}, which is allowed and handled. Add the file if there is one.{_other_files(case)}",
        )
    if case.seg is None:
        report.add(
            "error",
            "missing-segmentation",
            f"There is no {case.layout.stem('<id>', SEGMENTATION)}.nii.gz (or .nii) beside the images. Add it, or move "
            f"the case out of the data folder.{_other_files(case)}",
        )


def _other_files(case: Case) -> str:
    """A misspelt name is the likeliest reason for a missing file."""
    used = {*case.images.values(), case.seg}
    folder = next(iter(case.images.values())).parent
    others = sorted(path.name for path in folder.glob("*.nii*") if path not in used)
    return f" The folder also holds {', '.join(others[:_SHOWN])}, of no known name." if others else ""


def _inspect_copies(report: CaseReport) -> None:
    first: dict[str, str] = {}
    for modality, fingerprint in report.fingerprints.items():
        other = first.setdefault(fingerprint, modality)
        if other != modality:
            report.add(
                "error", "same-image-twice", f"{modality} holds the same voxels as {other}. Replace the wrong one."
            )


def _inspect_segmentation(report: CaseReport, volume: TurnedVolume, brain: np.ndarray | None) -> None:
    flat = volume.data.ravel(order="F")
    places = np.flatnonzero(flat)
    values = np.unique(flat[places]).tolist()
    if _are_labels(report, values):
        report.labels = frozenset(map(int, values))
        voxel_mm3 = abs(float(np.linalg.det(volume.affine[:3, :3])))
        _inspect_tumour(report, len(places), 0 if brain is None else int(np.count_nonzero(brain)), voxel_mm3)
        if volume.data.dtype.kind == "f":
            report.add(
                "note", "float-labels", "The segmentation is stored as floats. Nothing to do: all are whole numbers."
            )
    if brain is None:
        return
    outside = len(places) - int(np.count_nonzero(brain.ravel(order="F")[places]))
    if outside:
        grave = outside > _MOSTLY_OUTSIDE * len(places)
        report.add(
            "error" if grave else "warning",
            "mask-outside-brain",
            f"{outside} of {len(places)} voxels of the segmentation lie where every image is zero. "
            + ("It seems mirrored or another case's; replace it." if grave else "Look at it, or set them to 0."),
        )


def _are_labels(report: CaseReport, values: list[float]) -> bool:
    """Whether ``values``, all those of a segmentation but 0, can be labels; reported where they cannot."""
    odd = [value for value in values if value not in _KNOWN_LABELS]
    if any(value % 1 for value in odd):
        code, what = "non-integer-labels", "as interpolation leaves them. Resample labels with the nearest neighbour"
    elif odd:
        code, what = "unknown-labels", "not among the labels. Recode or replace the file"
    elif set(SCHEMES) <= set(values):
        odd = sorted(SCHEMES)
        code, what = "mixed-labels", "both of which can mean enhancing tumour. Recode the file"
    else:
        return True
    shown = [f"{value:g}" for value in odd[:_SHOWN]] + (["others"] if len(odd) > _SHOWN else [])
    report.add(
        "error",
        code,
        f"The segmentation holds {words(shown)}, {what}: expected are 0, 1, 2 and, for enhancing tumour, 4 (BraTS up "
        "to 2022) or 3 (from 2023 on).",
    )
    return False


def _inspect_tumour(report: CaseReport, tumour: int, brain: int, voxel_mm3: float) -> None:
    """Report on a tumour of so many voxels in a brain of so many, 0 when that is not known."""
    if not tumour:
        report.add("warning", "empty-segmentation", "The segmentation is empty. Make sure that there is no tumour.")
        return
    if len(report.labels) == 1:
        report.add(
            "warning",
            "single-label",
            f"The segmentation holds label {min(report.labels)} alone. Make sure that the tumour has no other part.",
        )
    if tumour * voxel_mm3 < _TINY_MM3 or tumour < _TINY_SHARE * brain:
        report.add(
            "note",
            "tiny-tumour",
            f"The tumour takes {tumour * voxel_mm3:.0f} mm³ in all. Make sure that none of it is missing.",
        )


def _inspect_grids(report: CaseReport, grids: list[_Grid]) -> None:
    usual = max(grids, key=lambda grid: sum(grid.same_as(other) for other in grids))
    others = words(grid.file for grid in grids if grid.same_as(usual))
    for grid in grids:
        if not grid.same_as(usual):
            code, what = "affines-differ", f"{grid.file} has another affine than {others}"
            if grid.shape != usual.shape:
                code = "shapes-differ"
                what = f"{grid.file} has shape {times(grid.shape)}, but {others} {times(usual.shape)}"
            report.add("error", code, f"{what}. Replace or resample the file, or set data.resample to true.")
    spacing = nibabel.affines.voxel_sizes(usual.affine)
    if np.any(np.abs(spacing - 1) > _SPACING_TOLERANCE_MM):
        report.add(
            "note",
            "unusual-spacing",
            f"Voxels are {times(spacing)} mm, BraTS' 1×1×1. Resample the images where models are to be shared.",
        )
    axes = [grid.axes for grid in grids]
    if any(one != ORIENTATION for one in axes):
        mixed = any(one != other for one, other in pairwise(axes))
        shown = words(f"{grid.file} {grid.axes}" for grid in grids) if mixed else axes[0]
        report.add(
            "note", "unusual-axes", f"Axes run {shown}, BraTS' {ORIENTATION}. Nothing to do: they are turned when read."
        )
    if usual.shape != BRATS_SHAPE:
        report.add(
            "note",
            "unusual-shape",
            f"Volumes have {times(usual.shape)} voxels, BraTS' {times(BRATS_SHAPE)}. Nothing to do if that is meant.",
        )
