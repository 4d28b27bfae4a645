# SPDX-License-Identifier: Apache-2.0
"""The network of ``round_overhead.py`` for FLARE's stock persistor: MONAI's SegResNet with 16 filters."""

from __future__ import annotations

from monai.networks.nets import SegResNet


class SegResNet16(SegResNet):
    """4.7 M parameters."""

    def __init__(self) -> None:
        super().__init__(
            3, 16, 4, 3, norm=("INSTANCE", {"affine": True}), blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1)
        )
