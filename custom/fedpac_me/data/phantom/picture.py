# SPDX-License-Identifier: Apache-2.0
"""Phantom and real case side by side.

``python -m fedpac_me.data.phantom.picture PHANTOM_DIR OUT.png [REAL_CASE_DIR]``
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from fedpac_me.data.layouts import Case, find_case, find_cases
from fedpac_me.data.phantom.kinds import DEMO
from fedpac_me.data.phantom.writer import ACQUISITION_FILE, phantom_facts, read_phantom_settings
from fedpac_me.errors import InputError
from fedpac_me.labels import ENHANCING, MODALITIES, NECROTIC, OEDEMA
from fedpac_me.storage import read_json

_DEMO_ROWS = (("P0", "HGG"), ("P1", "HGG"), ("P3", "LGG"))
_COLOURS = {NECROTIC: (0.85, 0.20, 0.20), OEDEMA: (0.20, 0.70, 0.30), ENHANCING: (0.95, 0.80, 0.15)}
_CREDIT = (
    "Labels: red necrotic or non-enhancing core, green oedema, yellow enhancing.\n"
    "{id}: TCGA-GBM via TCIA; Bakas et al. 2017, doi:10.1038/sdata.2017.117; "
    "Pati et al. 2021, arXiv:2105.05874; Reina et al. 2021, arXiv:2105.06413."
)


def draw_comparison(phantom_root: Path, real_case: Path | None, out: Path) -> None:
    """Draw a PNG: cases of a phantom and, if given, a real one.

    Of the demo two high-grade cases of different protocols and a low-grade one, of another kind a high-grade case of
    every protocol. Each row is the axial slice with most tumour, in the order of ``MODALITIES``, and its labels.

    Raises:
        InputError: a folder holds no suitable case, or a case has no segmentation.
    """
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    rows = [(_phantom_case(phantom_root, *kind), f"phantom\n{kind[0]}, {kind[1]}") for kind in _rows(phantom_root)]
    if real_case is not None:
        case = find_case(Path(real_case))
        if case is None:
            raise InputError(f"{real_case} holds no case in BraTS2020's layout.")
        rows.append((case, "real\nHGG"))
    figure = Figure(figsize=(7.6, 1.47 * len(rows) + 0.55), dpi=110, facecolor="black")
    axes = figure.subplots(len(rows), len(MODALITIES) + 1, squeeze=False)
    for row, (case, title) in zip(axes, rows, strict=True):
        _draw_row(row, case, title)
    for axis, name in zip(axes[0], (*MODALITIES, "labels"), strict=True):
        axis.set_title(name, color="white", fontsize=9)
    if real_case is not None:
        figure.text(0.01, 0.006, _CREDIT.format(id=rows[-1][0].id), color="0.8", fontsize=6, va="bottom")
    figure.subplots_adjust(0.05, 0.06, 1, 0.96, 0.01, 0.02)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, facecolor="black")


def _rows(root: Path) -> tuple[tuple[str, str], ...]:
    """Protocol and grade of the cases to show."""
    settings = read_phantom_settings(root) or {}
    return _DEMO_ROWS if phantom_facts(settings)["kind"] == DEMO else tuple((p, "HGG") for p in settings["protocols"])


def _phantom_case(root: Path, protocol: str, grade: str) -> Case:
    """The first complete case of its kind."""
    wanted = {"protocol": protocol, "grade": grade}
    sites = sorted(path for path in Path(root).glob("site-*") if path.is_dir())
    for case in (case for site in sites for case in find_cases([site])):
        acquisition = next(iter(case.images.values())).parent / ACQUISITION_FILE
        if all(case.present) and acquisition.is_file() and read_json(acquisition) == wanted:
            return case
    raise InputError(
        f"{root} holds no complete {grade} case of protocol {protocol}. Write it with `fedpac-me phantom`."
    )


def _draw_row(axes: Any, case: Case, title: str) -> None:
    if case.seg is None:
        raise InputError(f"Case {case.id} has no segmentation, which decides the slice to show.")
    labels = np.asarray(nibabel.load(case.seg).dataobj)
    level = int((labels > 0).sum(axis=(0, 1)).argmax())
    images = [np.asarray(nibabel.load(case.images[modality]).dataobj) for modality in MODALITIES]
    window = _square_around(images[0] > 0)
    for axis, image in zip(axes, images, strict=False):
        brightest = np.percentile(image[image > 0], 99.7)
        axis.imshow(image[(*window, level)].T, cmap="gray", vmin=0, vmax=brightest, interpolation="nearest")
    grey = np.clip(images[-1] / np.percentile(images[-1][images[-1] > 0], 99.7), 0, 1)[(*window, level)].T
    axes[-1].imshow(_overlay(grey, labels[(*window, level)].T), interpolation="nearest")
    place = {"ha": "right", "va": "center", "multialignment": "center", "transform": axes[0].transAxes}
    axes[0].text(-0.04, 0.5, title, color="white", fontsize=8, rotation=90, **place)
    for axis in axes:
        axis.set_axis_off()


def _square_around(brain: np.ndarray) -> tuple[slice, slice]:
    """The smallest square of the first two axes that holds the brain (DHW bool), so that all rows show one scale."""
    extents = [np.flatnonzero(brain.any(axis=axes)) for axes in ((1, 2), (0, 2))]
    half = max(int(hits[-1] - hits[0]) for hits in extents) // 2 + 2
    middles = [int(hits[-1] + hits[0]) // 2 for hits in extents]
    return tuple(slice(max(middle - half, 0), middle + half + 1) for middle in middles)


def _overlay(grey: np.ndarray, labels: np.ndarray) -> np.ndarray:
    picture = np.repeat(grey[..., None], 3, axis=-1)
    for label, colour in _COLOURS.items():
        picture[labels == label] = 0.45 * picture[labels == label] + 0.55 * np.array(colour)
    return picture


if __name__ == "__main__":
    draw_comparison(Path(sys.argv[1]), Path(sys.argv[3]) if len(sys.argv) > 3 else None, Path(sys.argv[2]))
