# SPDX-License-Identifier: Apache-2.0
"""Training batches: random crops of a site's scans, the same ones for the same seed, site and round."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from operator import itemgetter
from typing import Any, Protocol

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

_CPU = torch.device("cpu")
_VOLUMES = ["image", "regions"]
_CUT = ("image", "present", "regions")
_TENSORS = (*_CUT, "second", "second_present")

SampleChange = Callable[[Mapping[Hashable, Any]], dict[Hashable, Any]]
"""What is done to a crop: ``image``, ``regions`` (CDHW), ``present`` (C) and so on by name, on whatever device."""


class Augmentation(Protocol):
    """A transform of crops that can be drawn for one without being done to it."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Draw, and do it."""

    def drawn(self, shape: torch.Size, present: torch.Tensor) -> SampleChange | None:
        """Draw for a crop of ``shape`` (CDHW) and ``present`` (C), both before any augmentation; ``None``: nothing."""


@dataclass(frozen=True)
class Batch:
    """``image`` (BCDHW, channels as ``MODALITIES``), ``present`` (BC), ``regions`` (BCDHW, channels as ``REGIONS``).

    ``experts`` says which one speaks for each sample, and ``styles`` (BS) what its scan looks like; empty and ``None``
    where the model has no experts. ``second`` (BCDHW) and its ``second_present`` (BC) are the same crops in another
    perspective, where one was asked for. ``changes`` are still to be done to each sample, once it is on the device.
    """

    image: torch.Tensor
    present: torch.Tensor
    regions: torch.Tensor
    experts: tuple[int, ...] = ()
    styles: torch.Tensor | None = None
    second: torch.Tensor | None = None
    second_present: torch.Tensor | None = None
    changes: tuple[tuple[SampleChange, ...], ...] = ()

    def to(self, device: torch.device) -> Batch:
        """The batch on ``device``, changed there, its volumes with channels last, which convolutions prefer."""
        there = self._each(lambda tensor: tensor.to(device, non_blocking=True))
        there = there._changed() if any(self.changes) else there
        last = {"memory_format": torch.channels_last_3d}
        return there._each(lambda tensor: tensor.to(**last) if tensor.ndim == 5 else tensor)

    def pinned(self) -> Batch:
        """The batch in page-locked memory: from there a GPU copies it while it computes."""
        return self._each(torch.Tensor.pin_memory)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Those that there are, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if torch.is_tensor(value)}

    def parts(self, count: int) -> list[Batch]:
        """The batch cut into ``count`` of equally many samples, in their order."""
        size = len(self.image) // count
        cuts = [slice(number * size, (number + 1) * size) for number in range(count)]
        return [
            replace(self._each(itemgetter(cut)), experts=self.experts[cut], changes=self.changes[cut]) for cut in cuts
        ]

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        return replace(self, **{name: change(tensor) for name, tensor in self.tensors().items()})

    def _changed(self) -> Batch:
        """``changes`` done, sample by sample: hardly ever do two of a batch draw the same one."""
        samples = []
        for number, changes in enumerate(self.changes):
            sample = {key: getattr(self, key)[number] for key in _CUT}
            for change in changes:
                sample = change(sample)
            samples.append(sample)
        return replace(self, **_stacked(samples), changes=())


class TrainingCrops:
    """A site's training scans, prepared once, and the batches cut from them."""

    def __init__(
        self,
        cases: Sequence[Case],
        scans: ScanCache,
        seed: int,
        site: str,
        augmentation: Sequence[Augmentation] = (),
        device: torch.device = _CPU,
    ) -> None:
        """``augmentation`` acts on every crop: for a GPU it is drawn here and done there, by ``Batch.to``.

        Raises ``InputError`` when a case is unusable.
        """
        set_track_meta(False)  # crops need no affines, and carrying them costs time
        self._key = (seed, zlib.crc32(site.encode()))
        self._cases = cases
        self._scans = scans
        scans.prepare(cases)
        self._size, self._augmentation, self._later = scans.config.crop, augmentation, device.type == "cuda"
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
            crops, changes = zip(*(self._cut(self._cases[index]) for index in indices), strict=True)
            batch = Batch(**_stacked(crops), changes=changes)
            if expert is None:
                yield batch
            else:
                styles = torch.from_numpy(self.styles[indices])
                yield replace(batch, experts=(expert,) * size, styles=styles)

    def _cut(self, case: Case) -> tuple[dict[str, Any], tuple[SampleChange, ...]]:
        """A random crop, and what is to be done to it on the device.

        All transforms stay in one ``Compose``, which gives each a seed of its own, wherever augmentation is done.
        """
        sample = _sample(self._scans.load(case))
        if not self._later:
            return self._draw(sample)[0], ()
        crop = self._draw(sample, end=len(self._draw.transforms) - len(self._augmentation))[0]
        drawn = (one.drawn(crop["image"].shape, crop["present"]) for one in self._augmentation)
        return crop, tuple(change for change in drawn if change is not None)


def _stacked(samples: Sequence[Mapping[Hashable, Any]]) -> dict[str, torch.Tensor]:
    return {key: torch.stack([sample[key] for sample in samples]) for key in _TENSORS if key in samples[0]}


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


def _random_crop(config: DataConfig, edge: int, augmentation: Sequence[Augmentation]) -> Compose:
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
