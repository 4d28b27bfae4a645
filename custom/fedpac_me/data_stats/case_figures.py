# SPDX-License-Identifier: Apache-2.0
"""What one case adds to the figures of its site: read once, kept in a few kilobytes."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel
import numpy as np

from fedpac_me.data.file_findings import TurnedVolume, inspect_image, read_file
from fedpac_me.data.findings import CaseReport
from fedpac_me.data.layouts import SEGMENTATION, Case
from fedpac_me.errors import InputError
from fedpac_me.labels import LABELS, REGION_LABELS

QUANTILES = 256
"""So many numbers stand for the voxels of an image: fine enough for a histogram, and every case weighs the same."""

_PROBABILITIES = (np.arange(QUANTILES) + 0.5) / QUANTILES
_MM3_PER_ML = 1000


@dataclass(frozen=True)
class Intensities:
    """Of one image inside the brain: evenly spaced quantiles, mean and standard deviation, all raw."""

    quantiles: np.ndarray
    mean: float
    deviation: float

    @property
    def z_scores(self) -> np.ndarray:
        """The quantiles as the network sees them: this image's mean is 0 and its standard deviation 1."""
        return (self.quantiles - self.mean) / self.deviation


@dataclass(frozen=True)
class CaseFigures:
    """One case. ``id`` and ``fingerprints`` stay at the site.

    Attributes:
        part: ``train``, ``validation`` or ``test``.
        grade: ``HGG``, ``LGG``, or anything else for an unknown one.
        spacing_mm: edges of a voxel, axes as in memory.
        volumes_ml: by region and label; empty without a segmentation.
        intensities: of each modality that is there.
        fingerprints: hashes of the images' voxels, see ``data.findings``.
    """

    id: str
    part: str
    grade: str
    spacing_mm: tuple[float, ...]
    volumes_ml: dict[str, float]
    intensities: dict[str, Intensities]
    fingerprints: dict[str, str]


def measure_case(case: Case, part: str, grade: str) -> CaseFigures:
    """Read every file of ``case``; a modality or the segmentation may be absent.

    Raises:
        InputError: a file is there and not usable, as ``fedpac-me check-data`` would find.
    """
    report = CaseReport(case.id)
    intensities: dict[str, Intensities] = {}
    spacing: tuple[float, ...] = ()
    for modality, path in case.images.items():
        volume = read_file(report, modality, path)
        if volume is not None:
            brain = inspect_image(report, modality, volume.data)
            _require_no_error(report)
            intensities[modality] = _intensities(volume.data[brain])
            spacing = spacing or _spacing(volume)
    segmentation = None if case.seg is None else read_file(report, SEGMENTATION, case.seg)
    _require_no_error(report)
    volumes = {} if segmentation is None else _volumes(case, segmentation)
    return CaseFigures(case.id, part, grade, spacing, volumes, intensities, report.fingerprints)


def _require_no_error(report: CaseReport) -> None:
    for finding in report.findings:
        if finding.severity == "error":
            raise InputError(f"Case {report.case}: {finding.sentence}")


def _intensities(inside: np.ndarray) -> Intensities:
    values = inside.astype(np.float64)
    # inspect_image refuses an image of one value, so the deviation is not 0.
    return Intensities(np.quantile(values, _PROBABILITIES), float(values.mean()), float(values.std()))


def _spacing(volume: TurnedVolume) -> tuple[float, ...]:
    return tuple(float(edge) for edge in nibabel.affines.voxel_sizes(volume.affine))


def _volumes(case: Case, volume: TurnedVolume) -> dict[str, float]:
    labels = case.scheme.to_internal(volume.data, case.id)
    voxel_ml = float(np.prod(_spacing(volume))) / _MM3_PER_ML
    counts = {label: int(np.count_nonzero(labels == label)) for label in LABELS[1:]}
    by_region = {region: sum(counts[label] for label in parts) for region, parts in REGION_LABELS.items()}
    by_label = {f"label_{label}": count for label, count in counts.items()}
    return {name: count * voxel_ml for name, count in (by_region | by_label).items()}
