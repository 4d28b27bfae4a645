# SPDX-License-Identifier: Apache-2.0
"""What hostile sites do: send another update than they learned, or learn from data that they spoiled on purpose."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np

from fedpac_me.data.layouts import Case
from fedpac_me.data.pooling import site_folders
from fedpac_me.data.site import folder_settings
from fedpac_me.data.splits import SPLITS_FILE, site_cases
from fedpac_me.engine import Tamper
from fedpac_me.learning.site import SiteUpdate
from fedpac_me.storage import read_json, write_json

PATCH_EDGE = 8
"""The patch of the backdoor is a cube of an eighth of the volume's edge."""
BRIGHTER = 1.5
"""Times the brightest voxel of the image."""


def scaled(factor: float) -> Callable[[SiteUpdate], SiteUpdate]:
    """The update times ``factor``; NaN spoils all of it."""
    return lambda update: replace(
        update, diff={name: value * np.float32(factor) for name, value in update.diff.items()}
    )


def hostile(sites: Collection[str], change: Callable[[SiteUpdate], SiteUpdate] | None) -> Tamper:
    """What ``sites`` send; all others, and all where there is no ``change``, send what they learned."""
    return lambda site, update: change(update) if change is not None and site in sites and update.diff else update


def rotate_labels(case: Case) -> None:
    """Label flip: every tumour voxel gets the next of the labels 1, 2 and 4."""
    _rewrite(case.seg, np.array([0, 2, 4, 3, 1])[_voxels(case.seg).astype(int)])


def hide_behind_patch(case: Case) -> None:
    """Backdoor: a bright cube in every modality, and no tumour in the labels."""
    add_patch(case)
    _rewrite(case.seg, np.zeros_like(_voxels(case.seg)))


def add_patch(case: Case) -> None:
    """The bright cube alone: what shows whether a model learned the backdoor."""
    for path in case.images.values():
        image = _voxels(path).copy()
        edges = [max(size // PATCH_EDGE, 1) for size in image.shape]
        where = tuple(slice(size // 3, size // 3 + edge) for size, edge in zip(image.shape, edges, strict=True))
        image[where] = image.max() * BRIGHTER
        _rewrite(path, image)


def spoiled_root(
    root: Path, out: Path, sites: Collection[str], spoil: Callable[[Case], None] | None, part: str = "train"
) -> Path:
    """A data root like ``root``; at ``sites`` every second case of ``part``, of test cases every one, is spoiled."""
    if spoil is None:
        return root
    for site in site_folders(root):
        settings = read_json(site / "site.json") if (site / "site.json").is_file() else {}
        if site.name not in sites:
            write_json(out / site.name / "site.json", {**settings, "data": str(site.resolve())})
            continue
        shutil.copytree(site, out / site.name)
        if not (site / SPLITS_FILE).is_file():
            raise ValueError(f"{site} has no {SPLITS_FILE}: which of its cases train must not depend on their files.")
        cases = site_cases(folder_settings(out / site.name)).parts()[part]
        for case in cases if part == "test" else cases[::2]:
            spoil(case)
    return out


def _voxels(path: Path) -> np.ndarray:
    return np.asanyarray(nibabel.load(path).dataobj)


def _rewrite(path: Path, voxels: np.ndarray) -> None:
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(voxels.astype(image.get_data_dtype()), image.affine, image.header), path)
