# SPDX-License-Identifier: Apache-2.0
"""Cases of BraTS' size to measure with."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel

from fedpac_me.data.phantom.case import make_case
from fedpac_me.data.phantom.hospitals import plan_cases
from fedpac_me.data.phantom.writer import brats_affine

SHAPE = (240, 240, 155)


def write_full_size_cases(folder: Path, drawn: int, copies: int = 1, ending: str = ".nii.gz") -> None:
    """``drawn`` phantom cases below ``folder``, each under as many names as ``copies`` says, linked, not copied."""
    for plan in plan_cases(0)[:drawn]:
        made = make_case(plan, SHAPE, 0)
        for part, volume in {**made.images, "seg": made.labels}.items():
            for copy in range(copies):
                path = folder / f"{plan.id}-{copy}" / f"{plan.id}-{copy}_{part}{ending}"
                path.parent.mkdir(parents=True, exist_ok=True)
                if copy:
                    os.link(folder / f"{plan.id}-0" / f"{plan.id}-0_{part}{ending}", path)
                else:
                    nibabel.save(nibabel.Nifti1Image(volume, brats_affine(SHAPE)), path)
