# SPDX-License-Identifier: Apache-2.0
"""The segmentation network: MONAI's SegResNet behind a learned stand-in for missing modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

import numpy as np
import torch
from monai.networks.nets import SegResNet
from torch import nn

from fedpac_me.config import Config, ModelConfig
from fedpac_me.labels import MODALITIES, REGIONS
from fedpac_me.model.compiled import Compiled
from fedpac_me.model.controls import give_controls
from fedpac_me.model.embeddings import CONTRAST_LEVELS, RegionEmbedder
from fedpac_me.model.experts import Speaker, give_experts
from fedpac_me.model.own import OwnHead, is_own
from fedpac_me.model.recomputed import recomputed
from fedpac_me.model.router import Router, Routing

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

    def __init__(self, whole: Config) -> None:
        super().__init__()
        config = whole.model
        self.experts = config.experts
        self._speaker = Speaker()
        self._recomputes = whole.learning.checkpointing
        # Not bound to this network, so that a copy of it does not run the original.
        self._compiled = Compiled(SegmentationNet._decoded, config.experts) if whole.learning.compile else None
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
        if config.experts > 1 or config.adapter_rank or config.own == "all":
            give_experts(self.backbone, config, self._speaker, self.backbone.convInit)
        self.own: nn.Module | None = OwnHead() if config.own in ("head", "all") else None
        if config.own == "last_layer":
            self.own, self.backbone.conv_final = self.backbone.conv_final, nn.Identity()
        self.router = Router(config.experts, whole.router) if config.experts > 1 else None
        contrast = whole.contrast
        self.embedder = RegionEmbedder(_coarsest_channels(config), contrast.dimension) if contrast.active else None
        if whole.algorithm.name == "scaffold":
            give_controls(self)

    def forward(self, image: torch.Tensor, present: torch.Tensor, routes: Sequence[Routing] | None = None):
        """Logits (BCDHW, channels as ``REGIONS``) of ``image`` (BCDHW, channels as ``MODALITIES``).

        ``present`` (BC, 1 or 0) says which modalities each sample really has, ``routes`` who speaks for it (expert 0
        by default). A batch for which several speak is cut up, so that statistics stay those of one expert.
        """
        return self.with_features(image, present, routes)[0]

    def with_features(
        self, image: torch.Tensor, present: torch.Tensor, routes: Sequence[Routing] | None = None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """``forward``, and what its decoder made on the way: BCDHW, from coarse to fine."""
        image = self._stand_in(image, present)
        groups = _same_speakers(routes or ())
        if len(groups) < 2:
            self._let_speak(routes[0] if routes else None)
            return self._learned(image)
        spoken = []
        for indices in groups:
            self._let_speak(routes[indices[0]])
            spoken.append(self._learned(image[indices]))
        order = torch.tensor([index for indices in groups for index in indices]).argsort()
        logits, features = zip(*spoken, strict=True)
        return torch.cat(logits)[order], [torch.cat(level)[order] for level in zip(*features, strict=True)]

    def coarse_features(
        self, image: torch.Tensor, present: torch.Tensor, routes: Sequence[Routing] | None, levels: int
    ) -> list[torch.Tensor]:
        """The first ``levels`` of what ``with_features`` gives, of a batch for which one expert speaks; cheaper."""
        self._let_speak(routes[0] if routes else None)
        return self._climb(self._stand_in(image, present), levels)[1]

    def mixed(self, image: torch.Tensor, present: torch.Tensor, gates: torch.Tensor | None) -> torch.Tensor:
        """``forward`` with one mixture of experts for the whole batch, by ``gates`` (E), which may carry gradient.

        ``None`` where there is only one.
        """
        self._speaker.expert, self._speaker.gates, self._speaker.by_batch = 0, gates, False
        return self._decoded(self._stand_in(image, present))[0]

    def _let_speak(self, route: Routing | None) -> None:
        self._speaker.expert = route.expert if route is not None else 0
        self._speaker.gates = torch.tensor(route.gates) if route is not None and route.gates else None
        self._speaker.by_batch = route is not None and route.by_scan

    def _learned(self, image: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """``_decoded``, compiled where the config asks for it and it pays: windows of scans come too few at a time."""
        return self._compiled(self, image) if self._compiled and self.training else self._decoded(image)

    def _decoded(self, image: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        x, features = self._climb(image, len(self.backbone.up_layers))
        logits = self._through(self.backbone.conv_final, x)
        return logits if self.own is None else self.own(logits), features

    def _climb(self, image: torch.Tensor, levels: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The encoder and ``levels`` of the decoder. MONAI's own decode keeps its features to itself."""
        x, skips = self._encoded(image)
        steps = zip(self.backbone.up_samples, self.backbone.up_layers, skips[-2::-1], strict=True)
        features = []
        for up, layer, skip in islice(steps, levels):
            x = self._through(layer, up(x) + skip)
            features.append(x)
        return x, features

    def _encoded(self, image: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """MONAI's ``encode``, layer by layer where what is inside of one is not kept."""
        if not self._keeps_little:
            return self.backbone.encode(image)
        x = self.backbone.convInit(image)
        if self.backbone.dropout_prob is not None:
            x = self.backbone.dropout(x)
        skips = []
        for down in self.backbone.down_layers:
            x = self._through(down, x)
            skips.append(x)
        return x, skips

    def _through(self, layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return recomputed(layer, x, self._speaker) if self._keeps_little else layer(x)

    @property
    def _keeps_little(self) -> bool:
        return self._recomputes and self.training and torch.is_grad_enabled()

    def _stand_in(self, image: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        if not torch.compiler.is_exporting() and bool(present.all()):
            # The usual case, in which the stand-ins are multiplied by 0: no gradient need reach the image.
            return image
        there = present.to(image.dtype)[:, :, None, None, None]
        stand_in = self.missing.to(image.dtype)[None, :, None, None, None]
        return image * there + stand_in * (1 - there)


def build_model(config: Config) -> SegmentationNet:
    """A freshly initialised network; the same seed gives the same bytes and touches no global state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return SegmentationNet(config)


def shared_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """What travels: parameters and buffers but a hospital's own."""
    return {name: value for name, value in model.state_dict().items() if not is_own(name)}


def get_weights(model: nn.Module) -> dict[str, np.ndarray]:
    """What travels, as float32 numpy copies."""
    return {
        name: value.detach().to("cpu", torch.float32, copy=True).contiguous().numpy()
        for name, value in shared_state(model).items()
    }


def set_weights(model: nn.Module, weights: Mapping[str, np.ndarray | torch.Tensor]) -> None:
    """Load what ``get_weights`` gave. Raises ``ValueError`` when names or shapes do not match the network's."""
    known = shared_state(model)
    if known.keys() != weights.keys():
        odd = sorted(known.keys() ^ weights.keys())
        raise ValueError(f"the received model does not fit the network: {len(odd)} names differ, the first is {odd[0]}")
    with torch.no_grad():
        for name, value in known.items():
            given = torch.as_tensor(weights[name])
            if given.shape != value.shape:
                raise ValueError(
                    f"the received model does not fit the network: {name} is {tuple(given.shape)}, "
                    f"not {tuple(value.shape)}"
                )
            value.copy_(given)


def _coarsest_channels(config: ModelConfig) -> list[int]:
    """Channels of the coarsest decoder levels, which are those that are embedded."""
    levels = len(config.blocks_up)
    return [config.filters * 2 ** (levels - 1 - level) for level in range(min(levels, CONTRAST_LEVELS))]


def _same_speakers(routes: Sequence[Routing]) -> list[list[int]]:
    """Indices of samples for which the same expert, or the same mixture, speaks."""
    groups: dict[object, list[int]] = {}
    for index, route in enumerate(routes):
        groups.setdefault((route.gates or route.expert, route.by_scan), []).append(index)
    return list(groups.values())


def _drop_batch_counters(model: nn.Module) -> None:
    """Remove batch norm's integer step counters: nothing reads them, and they cannot be averaged."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.num_batches_tracked = None
