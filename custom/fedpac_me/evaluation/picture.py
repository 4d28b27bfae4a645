# SPDX-License-Identifier: Apache-2.0
"""One row of pictures of a case: the scan, the truth and the prediction on the slice that shows most tumour."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from fedpac_me.errors import InputError
from fedpac_me.labels import ENHANCING, MODALITIES, NECROTIC, OEDEMA
from fedpac_me.storage import atomic_path

LABEL_COLOURS = {NECROTIC: "#d7263d", OEDEMA: "#2a9d6f", ENHANCING: "#f4c430"}
"""Colour of each label in the overlays."""

LABEL_NAMES = {NECROTIC: "necrotic or non-enhancing core", OEDEMA: "oedema", ENHANCING: "enhancing tumour"}

_PREFERRED = ("flair", "t2", "t1", "t1ce")
_BACKGROUND, _INK = "#0b0d10", "#e8eaed"
_OPACITY = 0.55
_INCHES, _DPI = 1.9, 100
_PALETTE = 64


def case_picture(
    image: np.ndarray, present: Sequence[bool], truth: np.ndarray, prediction: np.ndarray, out: Path, title: str
) -> None:
    """Write one row as PNG: a scan (FLAIR, else T2), T1ce where present, the truth and the prediction over the scan.

    Slices run along the last axis, which is the axial one of BraTS files as nibabel reads them (LPS); the patient's
    left is on the viewer's right. The file is written atomically, with few enough colours to stay under 60 kB.

    Args:
        image: CDHW, channels as ``MODALITIES``, any intensities, zero outside the brain.
        present: per channel, whether the modality was acquired.
        truth: labels, DHW.
        prediction: labels, DHW.
        out: the PNG to write.
        title: shown above the row; it must not identify a patient.

    Raises:
        InputError: no modality is present, or the shapes do not agree.
    """
    image, truth, prediction = (np.asarray(array) for array in (image, truth, prediction))
    if image.shape[1:] != truth.shape or truth.shape != prediction.shape:
        raise InputError(
            f"Image {image.shape}, truth {truth.shape} and prediction {prediction.shape} do not share a grid."
        )
    shown = [modality for modality in _PREFERRED if present[MODALITIES.index(modality)]]
    if not shown:
        raise InputError("A picture needs at least one modality that is present.")
    position = best_slice(truth, prediction)
    window = brain_window(image[..., position])
    base = scan_slice(image, shown[0], position, window)
    panels = [(shown[0], base)]
    if "t1ce" in shown[1:]:
        panels.append(("t1ce", scan_slice(image, "t1ce", position, window)))
    panels.append(("truth", _overlay(base, truth[(*window, position)])))
    panels.append(("prediction", _overlay(base, prediction[(*window, position)])))
    save_picture(draw_row(panels, title), Path(out))


def data_uri(png: Path) -> str:
    """A written picture as a URI that a page can hold."""
    return f"data:image/png;base64,{b64encode(png.read_bytes()).decode()}"


def best_slice(truth: np.ndarray, prediction: np.ndarray) -> int:
    """Index along the last axis with the largest true tumour; without one the largest predicted; else the middle."""
    for labels in (truth, prediction):
        area = np.count_nonzero(labels, axis=(0, 1))
        if area.any():
            return int(area.argmax())
    return truth.shape[-1] // 2


def brain_window(channels: np.ndarray) -> tuple[slice, slice]:
    """The part of a slice (CDH) that shows brain, as slices of D and H, with a little air around it."""
    brain = (channels != 0).any(axis=0)
    window = []
    for axis in (0, 1):
        inside = np.flatnonzero(brain.any(axis=1 - axis))
        window.append(slice(max(inside[0] - 2, 0), inside[-1] + 3) if inside.size else slice(None))
    return window[0], window[1]


def scan_slice(image: np.ndarray, modality: str, position: int, window: tuple[slice, slice]) -> np.ndarray:
    """One modality's slice of ``image`` (CDHW) as RGB (DHC) in [0, 1], cut to ``window``.

    It is stretched over its own brain intensities, and black outside the brain.
    """
    values = image[MODALITIES.index(modality)][(*window, position)].astype(np.float64)
    brain = values != 0
    if not brain.any():
        return np.zeros((*values.shape, 3))
    low, high = np.percentile(values[brain], (0.5, 99.5))
    grey = np.clip((values - low) / max(high - low, 1e-6), 0, 1) * brain
    return np.repeat(grey[..., None], 3, axis=-1)


def _overlay(base: np.ndarray, labels: np.ndarray) -> np.ndarray:
    mixed = base.copy()
    for label, colour in LABEL_COLOURS.items():
        here = labels == label
        mixed[here] = (1 - _OPACITY) * base[here] + _OPACITY * np.array(to_rgb(colour))
    return mixed


def draw_row(panels: Sequence[tuple[str, np.ndarray]], title: str, inches: float = _INCHES) -> Figure:
    """Pictures (RGB, DHC), each ``inches`` wide, with their names in one row below ``title``; axes in that order."""
    figure = Figure(figsize=(inches * len(panels), inches + 0.5), dpi=_DPI, facecolor=_BACKGROUND)
    grid = figure.subplots(1, len(panels))
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=0.80, wspace=0.03)
    for axes, (name, picture) in zip(grid, panels, strict=True):
        axes.imshow(picture.transpose(1, 0, 2), interpolation="bilinear")  # DH to rows and columns of the page
        axes.set_title(name, color=_INK, fontsize=8, pad=3)
        axes.axis("off")
    figure.suptitle(title, color=_INK, fontsize=9, y=0.97, parse_math=False)
    return figure


def save_picture(figure: Figure, out: Path) -> None:
    """Write ``figure`` as PNG, atomically and with few colours; the same figure gives the same bytes."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(_PALETTE)
    with atomic_path(out) as temporary:
        picture.save(temporary, format="PNG", optimize=True)
