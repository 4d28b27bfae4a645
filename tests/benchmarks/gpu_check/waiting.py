# SPDX-License-Identifier: Apache-2.0
"""How long a step waits for its batch, which the CPU cuts from prepared scans and the GPU augments."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from fedpac_me.data.crops import Batch, TrainingCrops
from fedpac_me.data.layouts import find_cases
from fedpac_me.data.prefetch import prefetched, ready_for
from fedpac_me.data.scan_cache import ScanCache
from fedpac_me.learning.augmentation import crop_augmentation
from fedpac_me.learning.trainer import Trainer
from fedpac_me.model.backbone import build_model
from full_size_cases import write_full_size_cases
from gpu_check.figure import Figure
from gpu_check.setting import Setting
from gpu_check.turns import finish

LIMIT = 0.03


def waiting(setting: Setting) -> Iterator[Figure]:
    """Share of a round that its steps wait for data, after the first, which nothing can hide."""
    with tempfile.TemporaryDirectory(prefix="fedpac_me_gpu_") as name:
        folder, config = Path(name), setting.method()
        write_full_size_cases(folder / "data", setting.cases, shape=setting.shape)
        scans = ScanCache(folder / "scans", config.data)
        cases, augmentation = find_cases([folder / "data"]), crop_augmentation(config)
        crops = TrainingCrops(cases, scans, 0, "site", augmentation, setting.device)
        experts = [number % config.model.experts for number in range(len(crops))]
        trainer = Trainer(build_model(config), config, setting.device)
        for _ in range(2):  # the first round warms up
            waits: list[float] = []
            batches = crops.batches(0, setting.steps + 1, config.learning.batch, experts)
            with closing(prefetched(ready_for(setting.device, batches))) as ahead:
                start = time.perf_counter()
                trainer.train_round(_timed(ahead, waits), 0)
                finish(setting.device)
                whole = time.perf_counter() - start - waits[0]
    what = f"share of a step spent waiting for its batch of {config.data.crop}³ crops"
    yield Figure(what, sum(waits[1:]) / whole, "of the step", LIMIT)
    yield Figure("a step, its batch included", 1000 * whole / len(waits), "ms")


def _timed(batches: Iterator[Batch], waits: list[float]) -> Iterator[Batch]:
    while True:
        start = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            return
        waits.append(time.perf_counter() - start)
        yield batch
