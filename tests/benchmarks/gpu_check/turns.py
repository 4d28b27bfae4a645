# SPDX-License-Identifier: Apache-2.0
"""Time and memory of what a device does."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable

import torch


def in_turns(
    one: Callable[[], object],
    other: Callable[[], object],
    repeats: int,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float]:
    """Median seconds of each by ``clock``, in turns so that both see the same machine; each runs once before."""
    for run in (one, other):
        run()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for run, times in zip((one, other), seconds, strict=True):
            finish(device)
            start = clock()
            run()
            finish(device)
            times.append(clock() - start)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def finish(device: torch.device) -> None:
    """Wait until the device has done what it was given: CUDA returns before that."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_gib(run: Callable[[], object], device: torch.device) -> float:
    """GiB that tensors held on the device at most while ``run`` ran; on a CPU what the process ever held."""
    if device.type != "cuda":
        run()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    run()
    finish(device)
    return torch.cuda.max_memory_allocated(device) / 2**30
