# SPDX-License-Identifier: Apache-2.0
"""Predicting a whole scan in windows of the training crop's size."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from monai.inferers import sliding_window_inference

from fedpac_me.config import Config
from fedpac_me.data.scan import Scan
from fedpac_me.labels import REGIONS, labels_from_regions
from fedpac_me.learning.certainty import expected_dice
from fedpac_me.learning.postprocessing import without_small_parts
from fedpac_me.model.backbone import SegmentationNet
from fedpac_me.model.router import Routing


def autocast(config: Config, device: torch.device):
    """The mixed-precision context of ``learning.precision`` on ``device``."""
    precision = config.learning.precision
    bfloat16 = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16) if bfloat16 else nullcontext()


@dataclass(frozen=True)
class Prediction:
    """What a network says of a scan.

    Attributes:
        labels: DHW uint8, BraTS labels of the whole volume, zero outside the brain and without small parts.
        route: who spoke; ``None`` where the model has no experts.
        logits: CDHW float32, channels as ``REGIONS``, in the scan's box: what ``labels`` were cut from.
        brain: DHW bool in the scan's box; where it is false the logits are finite and mean nothing.
    """

    labels: np.ndarray
    route: Routing | None
    logits: np.ndarray
    brain: np.ndarray


def predict(
    model: SegmentationNet, scan: Scan, config: Config, device: torch.device, route: Routing | None = None
) -> Prediction:
    """Segment the volume that ``scan`` was cut from.

    ``route`` says which expert speaks, the same in every window; by default the router decides by the scan's style.
    Where it leaves the choice to the experts, each answers, and the surest is heard (``expected_dice``).
    """
    if route is None and model.router is not None:
        route = model.router.route(scan.style)
    brain = np.any(scan.image != 0, axis=0)
    if route is None or not route.candidates:
        logits = predict_logits(model, scan, config, device, route)
    else:
        route, logits = _surest(model, scan, config, device, route, brain)
    # A tumour lies in the brain: resampled borders of the box must not count.
    labels = labels_from_regions((logits > 0) & brain)
    labels = without_small_parts(labels, scan.spacing_mm, config.evaluation.small_parts_mm3)
    return Prediction(scan.uncrop(labels), route, logits, brain)


def _surest(
    model: SegmentationNet, scan: Scan, config: Config, device: torch.device, route: Routing, brain: np.ndarray
) -> tuple[Routing, np.ndarray]:
    """The candidate that is surest of its answer, the runner-up as its second, and the answer."""
    answers = {expert: predict_logits(model, scan, config, device, Routing(expert)) for expert in route.candidates}
    # The sort keeps the candidates' own order, nearest first, among equals.
    order = sorted(answers, key=lambda expert: expected_dice(answers[expert], brain), reverse=True)
    settled = replace(route, expert=order[0], second=order[min(1, len(order) - 1)], candidates=())
    return settled, answers[settled.expert]


@torch.inference_mode()
def predict_logits(
    model: SegmentationNet, scan: Scan, config: Config, device: torch.device, route: Routing | None
) -> np.ndarray:
    """Region logits (CDHW float32) in ``scan``'s box, from overlapping windows, as ``route`` says.

    Windows without brain are not computed. A voxel of the brain lies in none of them, so its logit is that of all
    windows; what lies in no other is 0. Where ``route`` asks for the scan's own statistics the others are one batch, so
    memory grows with their number.
    """
    model.eval()
    image = torch.from_numpy(scan.image)[None]
    present = torch.from_numpy(scan.present.astype(np.float32))[None].to(device)

    def spoken(windows: torch.Tensor) -> torch.Tensor:
        windows = windows.to(memory_format=torch.channels_last_3d)
        routes = [route] * len(windows) if route is not None else None
        return model(windows, present.expand(len(windows), -1), routes).float()

    # MONAI's splitter for windows of choice merges them without a Gaussian, and divides by 0 where there are none.
    def window_logits(windows: torch.Tensor) -> torch.Tensor:
        touched = windows.flatten(1).any(1)
        if touched.all():
            return spoken(windows)
        logits = windows.new_zeros(len(windows), len(REGIONS), *windows.shape[2:])
        if touched.any():
            logits[touched] = spoken(windows[touched])
        return logits

    with autocast(config, device):
        logits = sliding_window_inference(
            image,
            roi_size=(config.data.crop,) * 3,
            sw_batch_size=sys.maxsize if route is not None and route.by_scan else config.evaluation.window_batch,
            predictor=window_logits,
            overlap=config.evaluation.overlap,
            mode="gaussian",
            sw_device=device,
            device="cpu",
        )
    return logits[0].numpy()
