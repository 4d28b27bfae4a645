# SPDX-License-Identifier: Apache-2.0
"""What several ranks of a site (see ``ranks``) cannot share, and what they need."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from fedpac_me.config import Config
from fedpac_me.data.crops import Batch
from fedpac_me.errors import InputError
from fedpac_me.learning.trainer import TrainingFailed

_SHARED_MEMORY = Path("/dev/shm")


def rank_devices(count: int, config: Config, device: torch.device) -> list[torch.device]:
    """One a rank, ``device`` first. Raises ``InputError``: too few, or ``config`` cannot be shared."""
    _require_shareable(count, config)
    if device.type == "cpu":
        return [device] * count
    first = device.index or 0
    there = torch.cuda.device_count() if device.type == "cuda" else 0
    if first + count > there:
        raise InputError(
            f"The site's settings ask for {count} ranks on '{device}' and the devices after it, but {there} CUDA "
            f'devices are to be seen here. Set "ranks" to {max(there - first, 1)}, "device" to a lower number, or '
            "CUDA_VISIBLE_DEVICES to more devices."
        )
    return [torch.device(device.type, first + rank) for rank in range(count)]


def _require_shareable(count: int, config: Config) -> None:
    remedy = 'Set "ranks" to 1 in the site\'s settings, or ask the coordinator for'
    if config.learning.batch % count:
        raise InputError(
            f"The site's settings ask for {count} ranks, which must share each batch equally, but learning.batch is "
            f"{config.learning.batch}. {remedy} a multiple of {count}."
        )
    mixed = {
        "model.norm 'batch', whose statistics are of the whole batch": config.model.norm == "batch",
        "model.dropout, whose draws would be others": config.model.dropout > 0,
        "router.refine, whose gate weighs the whole batch": config.router.refine != "nothing",
        "contrast.view_weight, which compares the scans of a batch": config.contrast.view_weight > 0,
        "algorithm.name 'moon', which needs two more networks in each process": config.algorithm.name == "moon",
    }
    wrong = "; ".join(name for name, is_on in mixed.items() if is_on)
    if wrong:
        raise InputError(
            f"The site's settings ask for {count} ranks, but these cannot share: {wrong}. {remedy} a configuration "
            "without."
        )


def require_shared_memory(batch: Batch) -> None:
    """Raises ``TrainingFailed`` where ``batch`` finds no room: writing to it would end the process without a word."""
    needed = sum(one.nbytes for one in batch.tensors().values() if not one.is_shared())
    if _SHARED_MEMORY.is_dir() and shutil.disk_usage(_SHARED_MEMORY).free < needed:
        raise TrainingFailed(
            f"the ranks of this site need {needed / 2**20:.0f} MB of shared memory for a batch, more than is left. "
            'Start the container with more (docker run --shm-size=2g), or set "ranks" to 1 in the site\'s settings.'
        )
