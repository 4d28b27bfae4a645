# SPDX-License-Identifier: Apache-2.0
"""Cases of BraTS' size to measure with."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import nibabel

from fedpac_me.data.layouts import find_cases
from fedpac_me.data.phantom.case import make_case
from fedpac_me.data.phantom.hospitals import plan_cases
from fedpac_me.data.phantom.writer import brats_affine
from fedpac_me.data.scan import Scan, load_scan

SHAPE = (240, 240, 155)


def write_full_size_cases(
    folder: Path, drawn: int, copies: int = 1, ending: str = ".nii.gz", shape: tuple[int, int, int] = SHAPE
) -> None:
    """``drawn`` phantom cases below ``folder``, each under as many names as ``copies`` says, linked, not copied.

    ``shape`` (DHW) is another than BraTS' where a test asks for it.
    """
    for plan in plan_cases(0)[:drawn]:
        made = make_case(plan, shape, 0)
        for part, volume in {**made.images, "seg": made.labels}.items():
            for copy in range(copies):
                path = folder / f"{plan.id}-{copy}" / f"{plan.id}-{copy}_{part}{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                if copy:
                    os.link(folder / f"{plan.id}-0" / f"{plan.id}-0_{part}{ending}", path)
                else:
                    nibabel.save(nibabel.Nifti1Image(volume, brats_affine(shape)), path)


def full_size_scan(shape: tuple[int, int, int] = SHAPE) -> Scan:
    """The first of these cases, read."""
    with tempfile.TemporaryDirectory() as folder:
        write_full_size_cases(Path(folder), drawn=1, shape=shape)
        return load_scan(find_cases([Path(folder)])[0], 0)
