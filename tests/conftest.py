# SPDX-License-Identifier: Apache-2.0
"""Cases on disk for tests: tiny, but real NIfTI files in BraTS2020's layout."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

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


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """One good case."""
    return write_case(tmp_path / "site", "Case_001")


@pytest.fixture
def site_folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a site of a few cases."""

    def make(name: str = "site-1", cases: int = 4, **options) -> Path:
        for number in range(cases):
            write_case(tmp_path / "sites" / name, f"Case_{name}_{number:03}", seed=number, **options)
        return tmp_path / "sites" / name

    return make


@pytest.fixture(scope="session")
def real_case() -> Path:
    """Folder of the real BraTS2020 case; skips where there is none."""
    folder = os.environ.get("FEDPAC_ME_REAL_CASE")
    if not folder:
        pytest.skip("FEDPAC_ME_REAL_CASE does not name the folder of the real BraTS2020 case")
    return Path(folder) / "BraTS20_Training_212"
