# SPDX-License-Identifier: Apache-2.0
"""The segmentation network: MONAI's SegResNet behind a learned stand-in for missing modalities."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from monai.networks.nets import SegResNet
from torch import nn

from fedpac_me.config import ModelConfig
from fedpac_me.labels import MODALITIES, REGIONS

_FOREGROUND_PRIOR_LOGIT = -2.0
_NORMS = {
    "instance": ("INSTANCE", {"affine": True}),
    "group": ("GROUP", {"num_groups": 4}),
    "batch": ("BATCH", {}),
}


class SegmentationNet(nn.Module):
    """Region logits from up to four modalities.

    A missing modality is not an image of zeros: its channel carries one learned number, ``missing``, instead.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.missing = nn.Parameter(torch.zeros(len(MODALITIES)))
        self.backbone = SegResNet(
            spatial_dims=3,
            init_filters=config.filters,
            in_channels=len(MODALITIES),
            out_channels=len(REGIONS),
            dropout_prob=config.dropout or None,
            norm=_NORMS[config.norm],
            blocks_down=config.blocks_down,
            blocks_up=config.blocks_up,
        )
        # Few voxels are tumour: starting from that prior keeps the first steps from being spent on it
        # (Lin et al. 2017, focal loss, section 3.3).
        nn.init.constant_(self.backbone.conv_final[-1].conv.bias, _FOREGROUND_PRIOR_LOGIT)
        _drop_batch_counters(self)

    def forward(self, image: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Logits (BCDHW, channels as ``REGIONS``) of ``image`` (BCDHW, channels as ``MODALITIES``).

        ``present`` (BC, 1 or 0) says which modalities each sample really has.
        """
        if bool(present.all()):
            # The usual case, in which the stand-ins are multiplied by 0: no gradient need reach the image.
            return self.backbone(image)
        there = present.to(image.dtype)[:, :, None, None, None]
        stand_in = self.missing.to(image.dtype)[None, :, None, None, None]
        return self.backbone(image * there + stand_in * (1 - there))


def build_model(config: ModelConfig, seed: int) -> SegmentationNet:
    """A freshly initialised network; the same ``seed`` gives the same bytes and touches no global state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SegmentationNet(config)


def get_weights(model: nn.Module) -> dict[str, np.ndarray]:
    """All parameters and buffers as float32 numpy copies: what travels."""
    return {
        name: value.detach().to("cpu", torch.float32, copy=True).contiguous().numpy()
        for name, value in model.state_dict().items()
    }


def set_weights(model: nn.Module, weights: Mapping[str, np.ndarray | torch.Tensor]) -> None:
    """Load what ``get_weights`` gave. Raises ``ValueError`` when names or shapes do not match the network's."""
    own = model.state_dict()
    if own.keys() != weights.keys():
        odd = sorted(own.keys() ^ weights.keys())
        raise ValueError(f"the received model does not fit the network: {len(odd)} names differ, the first is {odd[0]}")
    with torch.no_grad():
        for name, value in own.items():
            given = torch.as_tensor(weights[name])
            if given.shape != value.shape:
                raise ValueError(
                    f"the received model does not fit the network: {name} is {tuple(given.shape)}, "
                    f"not {tuple(value.shape)}"
                )
            value.copy_(given)


def _drop_batch_counters(model: nn.Module) -> None:
    """Remove batch norm's integer step counters: nothing reads them, and they cannot be averaged."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.num_batches_tracked = None
