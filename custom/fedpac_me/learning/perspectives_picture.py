# SPDX-License-Identifier: Apache-2.0
"""Every perspective at three strengths.

``python -m fedpac_me.learning.perspectives_picture PHANTOM_DIR OUT.png``
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from fedpac_me.config import Perspective, PerspectivesConfig
from fedpac_me.data.layouts import find_cases
from fedpac_me.data.scan import Scan, load_scan
from fedpac_me.errors import InputError
from fedpac_me.labels import regions_from_labels
from fedpac_me.learning.perspectives import perspective_transforms
from fedpac_me.storage import atomic_path

_STRENGTHS = (0.3, 0.6, 1.0)
_SEED = 11
_DARKEST, _BRIGHTEST = -2.5, 3.0
_INK, _BACKGROUND = "#e8eaed", "#0b0d10"


def draw_perspectives(phantom_root: Path, out: Path) -> None:
    """Draw a PNG: a row a perspective, a column a strength, the untouched case before them.

    Each panel is the middle axial slice of one case in its four modalities (t1 t1ce above t2 flair), on one grey scale;
    below it stands by how many standard deviations the brain changed on average. The numbers drawn are the same along
    a row, so that only the strength differs. ``fgsm`` is missing: it needs a model.

    Raises:
        InputError: the folder holds no case with all modalities and a segmentation.
    """
    sample = _sample(_complete_case(phantom_root))
    names = [name for name in PerspectivesConfig.model_fields if name != "fgsm"]
    figure = Figure(figsize=(7.2, 2.2 * len(names) + 0.3), dpi=100, facecolor=_BACKGROUND)
    for row, name in zip(figure.subplots(len(names), len(_STRENGTHS) + 1), names, strict=True):
        _panel(row[0], sample["image"], "untouched" if name == names[0] else "")
        row[0].text(-0.06, 0.5, name, color=_INK, rotation=90, ha="right", va="center", transform=row[0].transAxes)
        for axes, strength in zip(row[1:], _STRENGTHS, strict=True):
            seen = _perspective(sample, name, strength)
            _panel(axes, seen, f"strength {strength:g}" if name == names[0] else "")
            axes.set_xlabel(f"{_mean_change(sample['image'], seen):.2g}", color=_INK, fontsize=8, labelpad=2)
    figure.subplots_adjust(0.05, 0.015, 0.995, 0.985, 0.02, 0.1)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    with atomic_path(Path(out)) as temporary:
        grey = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("L")
        grey.quantize(48).save(temporary, format="PNG", optimize=True)


def _complete_case(root: Path) -> Scan:
    sites = sorted(path for path in Path(root).glob("site-*") if path.is_dir())
    for case in (case for site in sites for case in find_cases([site])):
        if all(case.present) and case.seg is not None:
            return load_scan(case, 0)
    raise InputError(f"{root} holds no complete case. Write a phantom with `fedpac-me phantom --out {root}`.")


def _sample(scan: Scan) -> dict[str, torch.Tensor]:
    return {
        "image": torch.from_numpy(scan.image),
        "present": torch.from_numpy(scan.present).float(),
        "regions": torch.from_numpy(regions_from_labels(scan.labels)).float(),
    }


def _perspective(sample: dict[str, torch.Tensor], name: str, strength: float) -> torch.Tensor:
    config = PerspectivesConfig(**{name: Perspective(probability=1, strength=strength)})
    (transform,) = perspective_transforms(config)
    return transform.set_random_state(_SEED)(sample)["image"]


def _mean_change(before: torch.Tensor, after: torch.Tensor) -> float:
    return float((after - before).abs()[:, before.abs().amax(0) > 0].mean())


def _panel(axes: Any, image: torch.Tensor, title: str) -> None:
    """Show the four modalities (CDHW) two by two."""
    level = image[..., image.shape[-1] // 2].transpose(1, 2)
    grey = torch.where(level != 0, (level - _DARKEST) / (_BRIGHTEST - _DARKEST), 0).clamp(0, 1)
    t1, t1ce, t2, flair = grey.numpy()
    axes.imshow(np.block([[t1, t1ce], [t2, flair]]), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, color=_INK, fontsize=9, pad=3)
    axes.set_xticks([])
    axes.set_yticks([])


if __name__ == "__main__":
    draw_perspectives(Path(sys.argv[1]), Path(sys.argv[2]))
