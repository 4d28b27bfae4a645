# SPDX-License-Identifier: Apache-2.0
"""Training batches: random crops of a site's scans, the same ones for the same seed, site and round."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from monai.data import CacheDataset, set_track_meta
from monai.transforms import (
    Compose,
    DeleteItemsd,
    FgBgToIndicesd,
    RandCropByPosNegLabeld,
    RandFlipd,
    SpatialPadd,
    ToTensord,
    Transform,
)

from fedpac_me.config import DataConfig
from fedpac_me.data.layouts import Case
from fedpac_me.data.scan import load_scan
from fedpac_me.labels import regions_from_labels


@dataclass(frozen=True)
class Batch:
    """``image`` (BCDHW, channels as ``MODALITIES``), ``present`` (BC), ``regions`` (BCDHW, channels as ``REGIONS``)."""

    image: torch.Tensor
    present: torch.Tensor
    regions: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on ``device``, its volumes with channels last, which convolutions prefer."""
        volumes = {"device": device, "memory_format": torch.channels_last_3d, "non_blocking": True}
        return Batch(self.image.to(**volumes), self.present.to(device), self.regions.to(**volumes))


class TrainingCrops:
    """A site's training scans, read once and held in memory, and the batches cut from them."""

    def __init__(self, cases: Sequence[Case], config: DataConfig, seed: int, site: str) -> None:
        """Raises ``InputError`` when a case is unusable."""
        set_track_meta(False)  # crops need no affines, and carrying them costs time
        self._key = (seed, zlib.crc32(site.encode()))
        self._samples = CacheDataset(
            list(cases), _transforms(config), num_workers=None, progress=False, copy_cache=False
        )

    def __len__(self) -> int:
        return len(self._samples)

    def batches(self, round_number: int, count: int, size: int) -> Iterator[Batch]:
        """``count`` batches of ``size`` crops; a case comes again only after all others have come."""
        rng = np.random.default_rng([*self._key, round_number])
        self._samples.transform.set_random_state(seed=int(rng.integers(2**31)))
        order: list[int] = []
        while len(order) < count * size:
            order.extend(rng.permutation(len(self)).tolist())
        for step in range(count):
            crops = [self._samples[index][0] for index in order[step * size : (step + 1) * size]]
            yield Batch(*(torch.stack([crop[key] for crop in crops]) for key in ("image", "present", "regions")))


class _LoadSample(Transform):
    """Case → dict of arrays that MONAI's transforms work on."""

    def __init__(self, max_missing_modalities: int) -> None:
        self.max_missing_modalities = max_missing_modalities

    def __call__(self, case: Case) -> dict:
        scan = load_scan(case, self.max_missing_modalities)
        return {
            "image": scan.image,
            "present": scan.present.astype(np.float32),
            "regions": regions_from_labels(scan.labels).astype(np.float32),
            "tumour": (scan.labels > 0)[None].astype(np.uint8),
            "brain": np.any(scan.image != 0, axis=0, keepdims=True).astype(np.uint8),
        }


def _transforms(config: DataConfig) -> Compose:
    size = (config.crop,) * 3
    volumes = ["image", "regions"]
    return Compose(
        [
            _LoadSample(config.max_missing_modalities),
            SpatialPadd([*volumes, "tumour", "brain"], spatial_size=size),
            # Indices of tumour and of other brain voxels, kept so that no crop searches the volume again.
            FgBgToIndicesd("tumour", image_key="brain"),
            DeleteItemsd(["tumour", "brain"]),
            ToTensord([*volumes, "present"]),
            # Everything up to here is cached; what follows is random.
            RandCropByPosNegLabeld(
                volumes,
                label_key="regions",
                spatial_size=size,
                pos=config.tumour_crops,
                neg=1 - config.tumour_crops,
                fg_indices_key="tumour_fg_indices",
                bg_indices_key="tumour_bg_indices",
            ),
            *(RandFlipd(volumes, prob=config.flip, spatial_axis=axis) for axis in range(3)),
        ]
    )
