# SPDX-License-Identifier: Apache-2.0
"""Pictures of the scans that each expert owns: one small row of modalities an expert, kept at the site.

They lie in ``pictures/experts/<expert>-1.png`` below the site's own folder. In a simulation that folder is inside the
run's, where the report finds them; in a federation nobody but the site sees them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fedpac_me.evaluation.picture import brain_window, draw_row, save_picture, scan_slice
from fedpac_me.evaluation.run_record import FINAL_MODEL, model_key
from fedpac_me.labels import MODALITIES

_FINAL_NAMES = ("final", model_key(FINAL_MODEL))
_INK = "#9aa3ad"
_INCHES = 1.2  # the report shows them at three quarters of that, where the words can still be read


@dataclass(frozen=True)
class OwnedScan:
    """What a picture needs of a scan; a slice, since whole scans of several experts would fill the memory.

    Attributes:
        distance: to the nearest key.
        image: CDHW, channels as ``MODALITIES``, one slice (W of 1), zero outside the brain.
        present: per channel, whether the modality was acquired.
    """

    distance: float
    image: np.ndarray
    present: tuple[bool, ...]


class OwnedScans:
    """Of the test scans of one site, the nearest that each expert spoke for."""

    def __init__(self, site: str) -> None:
        self._site = site
        self._nearest: dict[int, OwnedScan] = {}

    def add(self, expert: int, distance: float, image: np.ndarray, present: Sequence[bool]) -> None:
        """Look at one more scan (``image`` CDHW, see ``OwnedScan``); among equally near ones the first is kept."""
        known = self._nearest.get(expert)
        if known is None or distance < known.distance:
            position = widest_slice(image)
            one = image[..., position : position + 1].copy()
            self._nearest[expert] = OwnedScan(distance, one, tuple(bool(value) for value in present))

    def draw(self, site_folder: Path, model_name: str) -> None:
        """Where the model is the final one, write a picture an expert that spoke, and remove those of the others.

        The report's section on experts is about the final model, so another model's pictures would contradict it.
        """
        if model_key(model_name) not in _FINAL_NAMES:
            return
        folder = Path(site_folder) / "pictures" / "experts"
        wanted = {folder / f"{expert}-1.png": expert for expert in sorted(self._nearest)}
        for path in set(folder.glob("[0-9]*-1.png")) - set(wanted):
            path.unlink(missing_ok=True)
        for path, expert in wanted.items():
            scan = self._nearest[expert]
            title = f"{self._site}, expert {expert}, distance {scan.distance:.2f}"
            expert_picture(scan.image, scan.present, path, title)


def expert_picture(image: np.ndarray, present: Sequence[bool], out: Path, title: str) -> None:
    """Write all four modalities of the slice with most brain as a PNG, atomically; an absent one is a labelled blank.

    Slices lie as in ``picture.case_picture``: the patient's left is on the viewer's right.

    Args:
        image: CDHW, channels as ``MODALITIES``, any intensities, zero outside the brain.
        present: per channel, whether the modality was acquired.
        out: the PNG to write.
        title: shown above the row; it must not identify a patient.
    """
    position = widest_slice(image)
    window = brain_window(image[..., position])
    panels = [(modality, scan_slice(image, modality, position, window)) for modality in MODALITIES]
    figure = draw_row(panels, title, _INCHES)
    _label_blanks(figure, present)
    save_picture(figure, Path(out))


def widest_slice(image: np.ndarray) -> int:
    """Index along the last axis of ``image`` (CDHW) with most brain; the middle one of equals. No label is asked."""
    area = np.count_nonzero((image != 0).any(axis=0), axis=(0, 1))
    widest = np.flatnonzero(area == area.max())
    return int(widest[len(widest) // 2])


def _label_blanks(figure: Figure, present: Sequence[bool]) -> None:
    for axes, there in zip(figure.axes, present, strict=True):
        if not there:
            axes.text(0.5, 0.5, "not acquired", color=_INK, fontsize=8, ha="center", transform=axes.transAxes)
