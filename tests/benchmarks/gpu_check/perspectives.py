# SPDX-License-Identifier: Apache-2.0
"""Whether a perspective is the same on the device as on the CPU, drawn from the same seed."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fedpac_me.config import Perspective, PerspectivesConfig
from fedpac_me.data.crops import Augmentation, Batch
from fedpac_me.labels import MODALITIES, REGIONS
from fedpac_me.learning.perspectives import perspective_transforms
from gpu_check.figure import Figure
from gpu_check.setting import Setting

NEAR, LIMIT = 1e-3, 1e-4
SEEDS = range(3)


def perspectives(setting: Setting) -> Iterator[Figure]:
    """Share of voxels that differ by more than ``NEAR`` standard deviations; a border voxel may fall the other way."""
    for name in PerspectivesConfig.model_fields:
        if name == "fgsm":
            continue  # the network's gradient, no transform
        (transform,) = perspective_transforms(PerspectivesConfig(**{name: Perspective(probability=1.0)}))
        apart = max(_apart(transform, seed, setting) for seed in SEEDS)
        yield Figure(f"{name}: voxels that differ between CPU and {setting.device.type}", apart, "of all", LIMIT)


def _apart(perspective: Augmentation, seed: int, setting: Setting) -> float:
    sample = _sample(seed, setting.method().data.crop)
    perspective.set_random_state(seed=seed)
    change = perspective.drawn(sample["image"].shape, sample["present"])
    once = {name: tensor[None] for name, tensor in sample.items()}
    # What was drawn is done twice, as `Batch.to` does it in training; the CPU's must not have been written into.
    found = [Batch(**once, changes=((change,),)).to(device) for device in (torch.device("cpu"), setting.device)]
    one, other = ([getattr(batch, name).cpu() for name in sample] for batch in found)
    return max((a - b).abs().gt(NEAR).float().mean().item() for a, b in zip(one, other, strict=True))


def _sample(seed: int, edge: int) -> dict[str, torch.Tensor]:
    """A ball of brain, smooth as tissue is, and regions in it."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, len(MODALITIES), *(max(edge // 8, 2),) * 3, generator=generator)
    image = torch.nn.functional.interpolate(coarse, (edge,) * 3, mode="trilinear")[0]
    axis = torch.linspace(-1, 1, edge)
    ball = sum(grid.square() for grid in torch.meshgrid(axis, axis, axis, indexing="ij")) < 0.8
    image = image * ball
    regions = (image[: len(REGIONS)] > 0.5).float()
    return {"image": image, "present": torch.ones(len(MODALITIES)), "regions": regions}
