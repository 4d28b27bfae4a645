# SPDX-License-Identifier: Apache-2.0
"""How bright a tumour's regions are beside the rest of the brain, in the phantom and in real cases.

``python -m fedpac_me.data.phantom.calibration DIR`` measures a written phantom.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import nibabel
import numpy as np

from fedpac_me.labels import ENHANCING, MODALITIES, NECROTIC, OEDEMA
from fedpac_me.storage import read_json

REGION_NAMES = {NECROTIC: "NCR", OEDEMA: "ED", ENHANCING: "ET"}

REAL_ZSCORES: dict[str, dict[str, tuple[float, float, float]]] = {
    "NCR": {
        "t1": (-1.00, 0.12, 0.42),
        "t1ce": (-0.67, -0.08, 1.13),
        "t2": (1.38, 1.70, 0.15),
        "flair": (0.41, 1.83, 1.60),
    },
    "ED": {
        "t1": (0.21, 0.68, -0.08),
        "t1ce": (0.07, 0.41, -0.01),
        "t2": (0.57, 0.03, 0.72),
        "flair": (1.38, 1.18, 2.39),
    },
    "ET": {
        "t1": (-0.11, 0.28, 0.68),
        "t1ce": (1.93, 2.15, 2.05),
        "t2": (0.54, 0.91, 0.00),
        "flair": (0.41, 1.72, 1.56),
    },
}
"""Mean z-score (inside the brain) per region and modality of three high-grade BraTS cases; the first is
BraTS20_Training_212 (TCGA-06-5417, Bakas et al. 2017, doi:10.1038/sdata.2017.117), as distributed with
Pati et al. 2021 (arXiv:2105.05874) and Reina et al. 2021 (arXiv:2105.06413)."""

REAL_WHOLE_TUMOUR = (0.05, 0.13)
"""Share of the brain that the whole tumour takes in those cases: 95 to 185 mL of about 1480 mL."""

TOLERANCE = 0.5
"""Three cases do not span what is normal: by so much may the phantom leave their range."""


def region_zscores(image: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, float]]:
    """Mean z-score of each tumour region in each modality.

    Args:
        image: CDHW raw intensities, channels as ``MODALITIES``, zero outside the brain; an absent modality is zero
            everywhere and is left out.
        labels: DHW BraTS labels; a region without voxels is left out.
    """
    brain = np.any(image != 0, axis=0)
    scores: dict[str, dict[str, float]] = {}
    for label, region in REGION_NAMES.items():
        inside = labels == label
        if inside.any():
            scores[region] = {
                modality: float((channel[inside].mean() - channel[brain].mean()) / channel[brain].std())
                for modality, channel in zip(MODALITIES, image.astype(np.float64), strict=True)
                if channel.any()
            }
    return scores


def allowed_range(region: str, modality: str) -> tuple[float, float]:
    """Range of the real cases' z-scores, widened by ``TOLERANCE``."""
    real = REAL_ZSCORES[region][modality]
    return min(real) - TOLERANCE, max(real) + TOLERANCE


def mean_zscores(cases: Iterable[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Average of several cases' ``region_zscores``; what a case lacks is left out of its average."""
    cases = list(cases)
    return {
        region: {
            modality: float(np.mean([case[region][modality] for case in cases if modality in case.get(region, {})]))
            for modality in MODALITIES
        }
        for region in REGION_NAMES.values()
    }


def reference_cases(root: Path) -> list[Path]:
    """Folders of the written cases that the calibration is about: complete, high grade, protocol P0."""
    folders = sorted(path.parent for path in root.glob("site-*/*/acquisition.json"))
    wanted = {"protocol": "P0", "grade": "HGG"}
    complete = [folder for folder in folders if all(_file(folder, modality).is_file() for modality in MODALITIES)]
    return [folder for folder in complete if read_json(folder / "acquisition.json") == wanted]


def measure(root: Path) -> str:
    """The table of docs/phantom.md (Markdown) for the phantom below ``root``. Raises ``OSError``."""
    scores, sizes = [], []
    for folder in reference_cases(root):
        image, labels = np.stack([_read(folder, modality) for modality in MODALITIES]), _read(folder, "seg")
        scores.append(region_zscores(image, labels))
        sizes.append((labels > 0).sum() / np.any(image, axis=0).sum())
    mean = mean_zscores(scores)
    lines = [f"{len(scores)} cases, whole tumour {min(sizes):.1%} to {max(sizes):.1%} of the brain", ""]
    lines += ["| | " + " | ".join(MODALITIES) + " |", "|---" * (len(MODALITIES) + 1) + "|"]
    for region, row in mean.items():
        lines.append(f"| {region} | " + " | ".join(_cell(region, m, row[m], scores) for m in MODALITIES) + " |")
    return "\n".join(lines)


def _cell(region: str, modality: str, mean: float, scores: list[dict[str, dict[str, float]]]) -> str:
    spread = np.std([case[region][modality] for case in scores if region in case])
    real = REAL_ZSCORES[region][modality]
    return f"{mean:+.2f} ± {spread:.2f} (real {min(real):+.2f} … {max(real):+.2f})"


def _file(folder: Path, name: str) -> Path:
    return folder / f"{folder.name}_{name}.nii.gz"


def _read(folder: Path, name: str) -> np.ndarray:
    return np.asarray(nibabel.load(_file(folder, name)).dataobj)


if __name__ == "__main__":
    print(measure(Path(sys.argv[1])))
