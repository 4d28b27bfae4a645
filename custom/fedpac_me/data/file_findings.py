# SPDX-License-Identifier: Apache-2.0
"""What is odd about one NIfTI file of a case: each oddity is a finding and none an exception."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel import orientations
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from fedpac_me.data.findings import CaseReport
from fedpac_me.data.nifti import ORIENTATION

_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    WrapStructError,
)
_FEWEST_ZEROS = 0.2
"""A brain leaves half of the tightest box around it empty, and five sixths of BraTS' volume."""
_FULLEST_FACE = 0.2
"""A brain cut off at the bottom takes up to a seventh of that face of the volume; a neck takes more."""


@dataclass(frozen=True)
class TurnedVolume:
    """One file's voxels.

    Attributes:
        data: DHW, turned to ``nifti.ORIENTATION``.
        affine: 4×4 of ``data``.
        axes: as they run in the file: "RAS", for instance.
    """

    data: np.ndarray
    affine: np.ndarray
    axes: str


def read_file(report: CaseReport, file: str, path: Path) -> TurnedVolume | None:
    """The volume in ``path``, NaN and infinity set to 0, or ``None`` where there is none to look at.

    What is wrong is reported, under the name ``file``.
    """
    try:
        image = nibabel.squeeze_image(_load(path))
        data, affine = np.asanyarray(image.dataobj), image.affine
    except _UNREADABLE as error:
        reason = " ".join(str(error).replace(str(path), "the file").split()).rstrip(".") or type(error).__name__
        report.add(
            "error",
            "unreadable-file",
            f"{file} cannot be read: {reason}. The file looks truncated or is not NIfTI; copy it again.",
        )
        return None
    if data.ndim != 3 or not data.size:
        report.add("error", "not-a-volume", f"{file} has shape {times(data.shape)}. Expected one volume of three axes.")
        return None
    if data.dtype.kind not in "iuf":
        report.add("error", "not-numbers", f"{file} holds {data.dtype} values. Save it as integers or floats.")
        return None
    own = orientations.io_orientation(affine) if np.isfinite(affine).all() else np.full((3, 2), np.nan)
    if np.isnan(own).any():
        report.add(
            "error",
            "bad-affine",
            f"{file} has an affine that does not say how its axes lie in space. Repair the header, or convert it anew.",
        )
        return None
    turn = orientations.ornt_transform(own, orientations.axcodes2ornt(ORIENTATION))
    turned = orientations.apply_orientation(_finite(report, file, data), turn)
    axes = "".join(orientations.ornt2axcodes(own))
    return TurnedVolume(turned, affine @ orientations.inv_ornt_aff(turn, data.shape), axes)


def inspect_image(report: CaseReport, modality: str, data: np.ndarray) -> np.ndarray:
    """Report on the voxels of one modality (DHW); returns where they are not zero (DHW, bool)."""
    brain = data != 0
    inside = int(np.count_nonzero(brain))
    if not inside:
        report.add(
            "error",
            "empty-image",
            f"{modality} is zero everywhere. Remove the file: a missing modality is handled, an empty one is not.",
        )
        return brain
    lowest, highest = data.min(), data.max()
    value = highest if highest else lowest
    if np.count_nonzero(data == value) == inside:
        report.add(
            "error",
            "constant-image",
            f"{modality} is {value:g} wherever it is not zero. Replace the file, or remove it: a missing modality is "
            "handled.",
        )
        return brain
    if not _inspect_background(report, modality, data, inside) and lowest < 0:
        report.add(
            "note",
            "negative-values",
            f"{modality} has negative voxels, such as resampling with splines leaves. Nothing to do if they are few.",
        )
    report.fingerprints[modality] = _fingerprint(data, brain)
    return brain


def words(names: Iterable[str]) -> str:
    """``t1, t2 and flair``."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def times(numbers: Iterable[float]) -> str:
    """``240×240×155``."""
    return "×".join(f"{number:.4g}" for number in numbers)


def _load(path: Path) -> nibabel.Nifti1Image:
    # Unpacked to its end, which nibabel.load leaves out: the checksum that gives damage away comes last.
    content = path.read_bytes()
    if path.name.endswith(".gz"):
        content = gzip.decompress(content)
    is_second = content[:4] in ((540).to_bytes(4, "little"), (540).to_bytes(4, "big"))
    image = (nibabel.Nifti2Image if is_second else nibabel.Nifti1Image).from_bytes(content)
    wanted = image.dataobj.offset + math.prod(map(int, image.shape)) * image.get_data_dtype().itemsize
    if len(content) < wanted:  # before room is made for it: a damaged header may speak of any size
        raise ValueError(f"it holds {len(content)} bytes where its header announces {wanted}")
    return image


def _finite(report: CaseReport, file: str, data: np.ndarray) -> np.ndarray:
    if data.dtype.kind != "f" or (finite := np.isfinite(data)).all():
        return data
    count = data.size - np.count_nonzero(finite)
    report.add(
        "error",
        "not-finite",
        f"{file} holds NaN or infinity (voxels: {count}). Set them to 0 where they lie outside the brain; "
        "otherwise convert the images anew.",
    )
    return np.where(finite, data, data.dtype.type(0))


def _inspect_background(report: CaseReport, modality: str, data: np.ndarray, inside: int) -> bool:
    """Report a background that is not zero, and say whether: the brain is where voxels are not zero."""
    faces = [np.moveaxis(data, axis, 0)[end] for axis in range(3) for end in (0, -1)]  # take() would copy it all
    fullest = max(np.count_nonzero(face) / face.size for face in faces)
    if fullest <= _FULLEST_FACE and inside <= (1 - _FEWEST_ZEROS) * data.size:
        return False
    values, counts = np.unique(np.concatenate([face.ravel() for face in faces]), return_counts=True)
    usual = values[counts.argmax()]
    if usual and (usual < 0 or 2 * counts.max() > counts.sum()):
        report.add(
            "error",
            "negative-background" if usual < 0 else "background-not-zero",
            f"{modality} has the background {usual:g}, to judge by its outermost voxels. Set everything outside the "
            "brain to 0: what is not 0 counts as brain.",
        )
    else:
        report.add(
            "error" if usual else "warning",  # a background that is not even mostly zero is refused in a run
            "not-skull-stripped",
            f"{modality} is not zero up to its border, so it does not look skull-stripped. Cut the brain out, with "
            "HD-BET for instance: what is not 0 counts as brain.",
        )
    return True


def _fingerprint(data: np.ndarray, brain: np.ndarray) -> str:
    from_above, from_the_left = brain.any(axis=2), brain.any(axis=0)
    shadows = (from_above.any(axis=1), from_above.any(axis=0), from_the_left.any(axis=0))
    box = tuple(slice(span[0], span[-1] + 1) for span in map(np.flatnonzero, shadows))
    # Column-major, as files are, so that nothing is reordered; .T makes of it what hashlib takes.
    cut = np.asarray(data[box], dtype=np.float32, order="F")
    return hashlib.blake2b(cut.T.data, digest_size=16, person=times(cut.shape).encode()[:16]).hexdigest()
