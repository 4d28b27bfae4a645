# SPDX-License-Identifier: Apache-2.0
"""A whole scan as one vector."""

from __future__ import annotations

import numpy as np
import torch
from monai.transforms import DivisiblePad

from fedpac_me.config import Config
from fedpac_me.data.scan import Scan
from fedpac_me.learning.inference import autocast
from fedpac_me.model.backbone import SegmentationNet
from fedpac_me.model.router import Routing


def encoded_twice(
    model: SegmentationNet, scan: Scan, config: Config, device: torch.device, route: Routing | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """One pair: ``scan`` encoded two times, for ``evaluation.pair_matching``; none where the config does not ask."""
    if not config.evaluation.pair_matching:
        return []
    first, again = (encode_scan(model, scan, config, device, route) for _ in range(2))
    return [(first, again)]


@torch.inference_mode()
def encode_scan(
    model: SegmentationNet, scan: Scan, config: Config, device: torch.device, route: Routing | None
) -> np.ndarray:
    """Mean features (C, float32) of the network's coarsest decoder level, the first that PACM embeds, over ``scan``.

    Of the whole box at once, not of windows: what is asked is what the network makes of the scan, not of its parts.
    """
    model.eval()
    pad = DivisiblePad(2 ** (len(config.model.blocks_down) - 1))
    image = torch.as_tensor(np.asarray(pad(scan.image)))[None].to(device, memory_format=torch.channels_last_3d)
    present = torch.from_numpy(scan.present.astype(np.float32))[None].to(device)
    with autocast(config, device):
        (features,) = model.coarse_features(image, present, None if route is None else [route], levels=1)
    return features.float().mean((0, 2, 3, 4)).cpu().numpy()
