# SPDX-License-Identifier: Apache-2.0
"""Where a site computes."""

from __future__ import annotations

import torch

from fedpac_me.errors import InputError


def prepare_torch(device: torch.device, cpu_threads: int) -> None:
    """How this process computes on ``device``: on a CPU in a fixed order, so that a seed gives the same bytes again."""
    if device.type == "cpu":
        torch.set_num_threads(cpu_threads)
    torch.use_deterministic_algorithms(device.type == "cpu")


def choose_device(wanted: str) -> torch.device:
    """The device named in the site's settings; ``auto`` takes CUDA where there is some, else the CPU.

    Raises:
        InputError: torch does not know the device, or it is not there.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=wanted).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f'The site\'s device \'{wanted}\' cannot be used: {str(error).splitlines()[0]} Use "auto" or "cpu".'
        ) from None
