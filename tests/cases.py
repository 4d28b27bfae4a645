# SPDX-License-Identifier: Apache-2.0
"""Cases on disk for tests: tiny, but real NIfTI files in BraTS2020's layout."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from fedpac_me.labels import MODALITIES

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def save(path: Path, data: np.ndarray, affine: np.ndarray = LPS) -> None:
    """One NIfTI file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(data, affine), path)


def write_case(parent: Path, case_id: str, edge: int = 24, seed: int = 0, missing: tuple[str, ...] = ()) -> Path:
    """A bright cube (tumour) in a noisy ball (brain); returns the case's folder."""
    rng = np.random.default_rng(seed)
    grid = np.indices((edge,) * 3) - (edge - 1) / 2
    brain = np.sqrt((grid**2).sum(0)) < edge * 0.45
    labels = np.zeros((edge,) * 3, np.uint8)
    third = edge // 3
    labels[third : 2 * third, third : 2 * third, third : 2 * third] = 2
    labels[third + 2 : 2 * third - 2, third + 2 : 2 * third - 2, third + 2 : 2 * third - 2] = 4
    labels[edge // 2, edge // 2, edge // 2] = 1
    folder = parent / case_id
    for modality in MODALITIES:
        if modality not in missing:
            image = 100 + 10 * rng.standard_normal(brain.shape) + 40 * (labels > 0) + 40 * (labels == 4)
            save(folder / f"{case_id}_{modality}.nii.gz", (np.clip(image, 1, None) * brain).astype(np.int16))
    save(folder / f"{case_id}_seg.nii.gz", labels)
    return folder
