# SPDX-License-Identifier: Apache-2.0
"""The same network, its training and its prediction, as a MONAI tutorial writes them: what ours is measured against."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from monai.networks.nets import SegResNet

from fedpac_me.config import Config
from fedpac_me.data.crops import Batch
from fedpac_me.data.scan import Scan
from fedpac_me.labels import MODALITIES, REGIONS
from fedpac_me.learning.inference import autocast


def plain_segresnet(config: Config) -> SegResNet:
    """MONAI's network of the size that ``config`` names, with instance normalisation, and nothing else of it."""
    model = config.model
    return SegResNet(
        3, model.filters, len(MODALITIES), len(REGIONS), norm=("INSTANCE", {"affine": True}),
        blocks_down=model.blocks_down, blocks_up=model.blocks_up,
    )  # fmt: skip


class BareLoop:
    """Network, DiceCE loss, AdamW; the switches of ``learning.precision`` and ``learning.compile`` as ours has them."""

    def __init__(self, network: SegResNet, config: Config, device: torch.device) -> None:
        self.config, self.device = config, device
        self.network = network.to(device, memory_format=torch.channels_last_3d).train()
        self.loss = DiceCELoss(sigmoid=True)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning.learning_rate, fused=device.type == "cuda" or None
        )
        self._forward = torch.compile(self.network, dynamic=False) if config.learning.compile else self.network

    def run(self, batches: Iterable[Batch]) -> None:
        """One step a batch."""
        for batch in batches:
            volumes = {"device": self.device, "memory_format": torch.channels_last_3d, "non_blocking": True}
            image, regions = batch.image.to(**volumes), batch.regions.to(**volumes)
            self.optimizer.zero_grad()
            with autocast(self.config, self.device):
                loss = self.loss(self._forward(image), regions)
            loss.backward()
            self.optimizer.step()


def plain_prediction(
    network: SegResNet, scan: Scan, config: Config, device: torch.device
) -> Callable[[], torch.Tensor]:
    """A call that gives the logits (BCDHW) of ``scan``'s box from all windows, those that ``predict`` takes."""
    network = network.to(device, memory_format=torch.channels_last_3d).eval()
    image = torch.from_numpy(scan.image)[None]

    @torch.inference_mode()
    def predicted() -> torch.Tensor:
        with autocast(config, device):
            return sliding_window_inference(
                image,
                (config.data.crop,) * 3,
                config.evaluation.window_batch,
                lambda windows: network(windows.to(memory_format=torch.channels_last_3d)).float(),
                overlap=config.evaluation.overlap,
                mode="gaussian",
                sw_device=device,
                device="cpu",
            )

    return predicted
