# SPDX-License-Identifier: Apache-2.0
"""Training batches: random crops of a site's scans, the same ones for the same seed, site and round."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from operator import itemgetter

import numpy as np
import torch
from monai.data import set_track_meta
from monai.transforms import (
    Compose,
    DeleteItemsd,
    RandCropByPosNegLabeld,
    RandFlipd,
    SpatialPadd,
    Transform,
)

from fedpac_me.config import SMALLEST_CROP, DataConfig
from fedpac_me.data.layouts import Case
from fedpac_me.data.scan_cache import PreparedScan, ScanCache
from fedpac_me.labels import regions_from_labels

_VOLUMES = ["image", "regions"]
_TENSORS = ("image", "present", "regions", "second", "second_present")


@dataclass(frozen=True)
class Batch:
    """``image`` (BCDHW, channels as ``MODALITIES``), ``present`` (BC), ``regions`` (BCDHW, channels as ``REGIONS``).

    ``experts`` says which one speaks for each sample, and ``styles`` (BS) what its scan looks like; empty and ``None``
    where the model has no experts. ``second`` (BCDHW) and its ``second_present`` (BC) are the same crops in another
    perspective, where one was asked for.
    """

    image: torch.Tensor
    present: torch.Tensor
    regions: torch.Tensor
    experts: tuple[int, ...] = ()
    styles: torch.Tensor | None = None
    second: torch.Tensor | None = None
    second_present: torch.Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """The batch on ``device``, its volumes with channels last, which convolutions prefer."""
        volumes = {"device": device, "memory_format": torch.channels_last_3d, "non_blocking": True}
        flat = {"device": device, "non_blocking": True}
        return self._each(lambda tensor: tensor.to(**(volumes if tensor.ndim == 5 else flat)))

    def pinned(self) -> Batch:
        """The batch in page-locked memory: from there a GPU copies it while it computes."""
        return self._each(torch.Tensor.pin_memory)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Those that there are, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "experts"}
        return {name: value for name, value in values.items() if value is not None}

    def parts(self, count: int) -> list[Batch]:
        """The batch cut into ``count`` of equally many samples, in their order."""
        size = len(self.image) // count
        cuts = [slice(number * size, (number + 1) * size) for number in range(count)]
        return [replace(self._each(itemgetter(cut)), experts=self.experts[cut]) for cut in cuts]

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        return replace(self, **{name: change(tensor) for name, tensor in self.tensors().items()})


class TrainingCrops:
    """A site's training scans, prepared once, and the batches cut from them."""

    def __init__(
        self,
        cases: Sequence[Case],
        scans: ScanCache,
        seed: int,
        site: str,
        augmentation: Sequence[Transform] = (),
    ) -> None:
        """``augmentation`` acts on every crop. Raises ``InputError`` when a case is unusable."""
        set_track_meta(False)  # crops need no affines, and carrying them costs time
        self._key = (seed, zlib.crc32(site.encode()))
        self._cases = cases
        self._scans = scans
        scans.prepare(cases)
        self._size, self._augmentation = scans.config.crop, augmentation
        self._draw = _random_crop(scans.config, self._size, augmentation)

    def __len__(self) -> int:
        return len(self._cases)

    def shrink(self) -> bool:
        """Cut crops of half the edge from now on, a multiple of 8; ``False`` where they are as small as they get."""
        smaller = max(self._size // 2 // 8 * 8, SMALLEST_CROP)
        shrinks, self._size = smaller < self._size, smaller
        self._draw = _random_crop(self._scans.config, self._size, self._augmentation)
        return shrinks

    @cached_property
    def styles(self) -> np.ndarray:
        """The style of every scan (n, S)."""
        return np.stack([self._scans.load(case).scan.style for case in self._cases])

    def batches(
        self,
        round_number: int,
        count: int,
        size: int,
        experts: Sequence[int] | None = None,
    ) -> Iterator[Batch]:
        """``count`` batches of ``size`` crops; a case comes again only after all others have come.

        With ``experts``, one a case, a batch holds scans of one expert, so that its statistics are that expert's;
        experts come as often as their share of the cases, and "all others" are all others of the expert.
        """
        rng = np.random.default_rng([*self._key, round_number])
        self._draw.set_random_state(seed=int(rng.integers(2**31)))
        chosen = _in_turn(rng, len(self), count, size) if experts is None else _by_expert(rng, experts, count, size)
        for indices, expert in chosen:
            crops = [self._draw(_sample(self._scans.load(self._cases[index])))[0] for index in indices]
            tensors = {key: torch.stack([crop[key] for crop in crops]) for key in _TENSORS if key in crops[0]}
            if expert is None:
                yield Batch(**tensors)
            else:
                styles = torch.from_numpy(self.styles[indices])
                yield Batch(**tensors, experts=(expert,) * size, styles=styles)


Chosen = tuple[list[int], int | None]
"""The cases of a batch and the expert that speaks for it."""


def _in_turn(rng: np.random.Generator, cases: int, count: int, size: int) -> Iterator[Chosen]:
    order: list[int] = []
    while len(order) < count * size:
        order.extend(rng.permutation(cases).tolist())
    return ((order[step * size : (step + 1) * size], None) for step in range(count))


def _by_expert(rng: np.random.Generator, experts: Sequence[int], count: int, size: int) -> Iterator[Chosen]:
    of_case = np.array(experts)
    speakers = rng.choice(of_case, size=count)
    members = {expert: np.flatnonzero(of_case == expert) for expert in np.unique(of_case).tolist()}
    waiting: dict[int, list[int]] = {expert: [] for expert in members}
    for expert in speakers.tolist():
        queue = waiting[expert]
        while len(queue) < size:
            queue.extend(rng.permutation(members[expert]).tolist())
        yield [queue.pop(0) for _ in range(size)], expert


def _sample(prepared: PreparedScan) -> dict:
    """What MONAI's transforms work on: a scan, and where its tumour and its other brain are."""
    return {
        "image": torch.from_numpy(prepared.scan.image),
        "present": torch.from_numpy(prepared.scan.present).float(),
        "labels": torch.from_numpy(prepared.scan.labels)[None],
        "tumour": prepared.tumour,
        "brain": prepared.brain,
    }


def _random_crop(config: DataConfig, edge: int, augmentation: Sequence[Transform]) -> Compose:
    size = (edge,) * 3
    return Compose(
        [
            RandCropByPosNegLabeld(
                ["image", "labels"],
                label_key="labels",
                spatial_size=size,
                pos=config.tumour_crops,
                neg=1 - config.tumour_crops,
                fg_indices_key="tumour",
                bg_indices_key="brain",
                allow_smaller=True,
            ),
            SpatialPadd(["image", "labels"], spatial_size=size),  # a brain smaller than the crop
            DeleteItemsd(["tumour", "brain"]),
            _Regions(),
            *(RandFlipd(_VOLUMES, prob=config.flip, spatial_axis=axis) for axis in range(3)),
            *augmentation,
        ]
    )


class _Regions(Transform):
    """The crop's labels as the three regions, which is what is learned."""

    def __call__(self, sample: dict) -> dict:
        regions = regions_from_labels(sample.pop("labels")[0].numpy())
        return {**sample, "regions": torch.from_numpy(regions).float()}
