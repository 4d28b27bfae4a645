# SPDX-License-Identifier: Apache-2.0
"""A whole scan predicted by our network with one expert speaking, and by MONAI's plain SegResNet."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from bare_monai import plain_prediction, plain_segresnet
from fedpac_me.learning.inference import predict
from fedpac_me.model.backbone import build_model
from fedpac_me.model.router import Routing
from full_size_cases import full_size_scan
from gpu_check.figure import Figure, slower_by
from gpu_check.setting import Setting
from gpu_check.turns import in_turns, peak_gib

LIMIT = 1.15


def volume(setting: Setting) -> Iterator[Figure]:
    """Seconds of each, windows and blending the same; then what a prediction holds."""
    config, scan = setting.method(), full_size_scan(setting.shape)
    network = build_model(config).to(setting.device, memory_format=torch.channels_last_3d)
    plain = plain_prediction(plain_segresnet(config), scan, config, setting.device)

    def ours() -> object:
        return predict(network, scan, config, setting.device, Routing(0))

    seconds = in_turns(ours, plain, setting.repeats, setting.device)
    size = "×".join(map(str, setting.shape))
    yield slower_by(f"prediction of {size} against plain SegResNet (s)", seconds, LIMIT)
    yield Figure(f"prediction of {size}: memory at most", peak_gib(ours, setting.device), "GiB")
