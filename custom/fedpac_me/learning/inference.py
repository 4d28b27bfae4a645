# SPDX-License-Identifier: Apache-2.0
"""Predicting a whole scan in windows of the training crop's size."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
from monai.inferers import sliding_window_inference

from fedpac_me.config import Config
from fedpac_me.data.scan import Scan
from fedpac_me.labels import labels_from_regions
from fedpac_me.model.backbone import SegmentationNet
from fedpac_me.model.router import Routing


def autocast(config: Config, device: torch.device):
    """The mixed-precision context of ``learning.precision`` on ``device``."""
    precision = config.learning.precision
    bfloat16 = precision == "bfloat16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, dtype=torch.bfloat16) if bfloat16 else nullcontext()


@torch.inference_mode()
def predict_labels(
    model: SegmentationNet, scan: Scan, config: Config, device: torch.device, route: Routing | None = None
) -> np.ndarray:
    """BraTS labels (DHW uint8) of the whole volume that ``scan`` was cut from; zero outside the brain.

    ``route`` says which expert speaks, the same in every window; by default the router decides by the scan's style.
    """
    if route is None and model.router is not None:
        route = model.router.route(scan.style)
    model.eval()
    image = torch.from_numpy(scan.image)[None]
    present = torch.from_numpy(scan.present.astype(np.float32))[None].to(device)

    def window_logits(windows: torch.Tensor) -> torch.Tensor:
        windows = windows.to(memory_format=torch.channels_last_3d)
        routes = [route] * len(windows) if route is not None else None
        return model(windows, present.expand(len(windows), -1), routes).float()

    with autocast(config, device):
        logits = sliding_window_inference(
            image,
            roi_size=(config.data.crop,) * 3,
            sw_batch_size=config.evaluation.window_batch,
            predictor=window_logits,
            overlap=config.evaluation.overlap,
            mode="gaussian",
            sw_device=device,
            device="cpu",
        )
    # A tumour lies in the brain: resampled borders of the box must not count.
    regions = (logits[0].numpy() > 0) & np.any(scan.image != 0, axis=0)
    return scan.uncrop(labels_from_regions(regions))
