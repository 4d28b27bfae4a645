# SPDX-License-Identifier: Apache-2.0
"""What preparing, keeping and cutting scans of BraTS' size costs.

    python tests/benchmarks/loading.py          about 10 minutes

One thread computes, as at a simulated site; the thread that gets the next batch is the second.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from fedpac_me.config import Config, load_config
from fedpac_me.data.crops import Batch, TrainingCrops
from fedpac_me.data.layouts import Case, find_cases
from fedpac_me.data.prefetch import prefetched
from fedpac_me.data.scan import Scan, load_scan
from fedpac_me.data.scan_cache import ScanCache
from fedpac_me.learning.augmentation import crop_augmentation
from fedpac_me.learning.trainer import Trainer
from fedpac_me.model.backbone import build_model
from full_size_cases import write_full_size_cases

ROOT = Path(__file__).parents[2]
FEW, MANY = 3, 9
CROP = 128
BATCH = 2
STEPS = 4
GOT = 20


def measure(folder: Path) -> list[str]:
    """Lines of the three tables; ``folder`` is filled with cases and their prepared scans."""
    torch.set_num_threads(1)
    write_full_size_cases(folder / "data", MANY)
    cases = find_cases([folder / "data"])
    return [
        "| what | s a case | MB a case |\n|---|---|---|",
        *_forms(cases[:FEW], folder),
        f"\n| {CROP}³ crops, batch {BATCH} | s a step | of it waiting for the batch |\n|---|---|---|",
        *(row for method in ("fedavg", "fedpac_me") for row in _waiting(method, cases[:FEW], folder)),
        f"\n| getting {BATCH} crops of {CROP}³, `fedpac_me_gpu.json` | CPU ms a batch |\n|---|---|",
        *_getting(cases[:FEW], folder),
        "\n| cases | memory held after preparing them and cutting equally many crops (MiB) |\n|---|---|",
        *(f"| {count} | {_memory_in_a_process(folder, count):.0f} |" for count in (FEW, MANY)),
    ]


def _forms(cases: list[Case], folder: Path) -> Iterator[str]:
    """Reading files against what is kept, and what else could be kept."""
    config = load_config(ROOT / "app_configs/fedavg.json").data
    scans = [load_scan(case, 0) for case in cases]
    raw = statistics.fmean(sum(path.stat().st_size for path in case.images.values()) for case in cases)
    yield _row("read and normalise the files (`.nii.gz`)", _seconds(lambda case: load_scan(case, 0), cases), raw)
    made = _seconds(ScanCache(folder / "scans", config).load, cases)
    kept = statistics.fmean(path.stat().st_size for path in (folder / "scans").iterdir())
    yield _row("the same, and keep it, mapped (what is done)", made, kept)
    fresh = ScanCache(folder / "scans", config)
    yield _row("a job's first look at what is kept: files and entry are checked", _seconds(fresh.load, cases), kept)
    reopened = ScanCache(folder / "scans", config)
    reopened.prepare(cases)
    reopened._open.cache_clear()
    yield _row(
        "open it again and cut one 128³ crop", _seconds(lambda case: _crop(reopened.load(case).scan), cases), kept
    )
    packed = folder / "packed.npz"
    seconds = _seconds(lambda scan: np.savez_compressed(packed, image=scan.image, labels=scan.labels), scans)
    yield _row("alternative: write it compressed (`numpy.savez_compressed`)", seconds, packed.stat().st_size)
    yield _row("alternative: read it compressed", _seconds(_unpacked, [packed]), packed.stat().st_size)


def _row(what: str, seconds: float, size: float) -> str:
    return f"| {what} | {seconds:.3f} | {size / 1e6:.1f} |"


def _seconds(call: Callable, items: list) -> float:
    return statistics.fmean(_timed(call, item) for item in items)


def _timed(call: Callable, item: object) -> float:
    start = time.monotonic()
    call(item)
    return time.monotonic() - start


def _crop(scan: Scan) -> np.ndarray:
    return scan.image[:, :CROP, :CROP, :CROP].copy()


def _unpacked(path: Path) -> list[np.ndarray]:
    with np.load(path) as packed:
        return [packed[name] for name in packed.files]


def _waiting(method: str, cases: list[Case], folder: Path) -> Iterator[str]:
    """Share of a training step spent waiting for its batch, with the next one prefetched and without.

    The first batch of a round has no step to hide behind and is told apart.
    """
    config = load_config(ROOT / f"app_configs/{method}.json", {"data": {"crop": CROP}})
    trainer = Trainer(build_model(config), config, torch.device("cpu"))
    for name, source in (("prefetched", prefetched), ("without", iter)):
        waits: list[float] = []
        batches = _batches(config, cases, folder)
        start = time.monotonic()
        trainer.train_round(_timing(source(batches), waits), 40)
        whole = time.monotonic() - start
        steps = whole - waits[0]
        share = f"{sum(waits[1:]) / steps:.2%} (first of a round: {waits[0]:.2f} s)"
        yield f"| {config.method}, {name} | {steps / STEPS:.1f} | {share} |"


def _getting(cases: list[Case], folder: Path) -> Iterator[str]:
    """What the thread that gets the next batch computes, and so what a GPU waits for at most."""
    config = load_config(ROOT / "app_configs/fedpac_me_gpu.json", {"data": {"crop": CROP}})
    kinds = {"MPA done (for a CPU)": "cpu", "MPA drawn (for a GPU)": "cuda", "no MPA": None}
    for what, device in kinds.items():
        augmentation = crop_augmentation(config) if device else ()
        scans = ScanCache(folder / "scans", config.data)
        crops = TrainingCrops(cases, scans, 0, "site", augmentation, torch.device(device or "cpu"))
        times: list[float] = []
        for round_number in range(2):  # the first opens the scans
            start = time.thread_time()
            for _ in crops.batches(round_number, GOT, BATCH):
                pass
            times.append(time.thread_time() - start)
        yield f"| {what} | {1000 * times[-1] / GOT:.0f} |"


def _batches(config: Config, cases: list[Case], folder: Path) -> Iterator[Batch]:
    crops = TrainingCrops(cases, ScanCache(folder / "scans", config.data), 0, "site", crop_augmentation(config))
    experts = [number % config.model.experts for number in range(len(cases))] if config.model.experts > 1 else None
    return crops.batches(config.federation.rounds - 1, STEPS, BATCH, experts)


def _timing(batches: Iterator[Batch], waits: list[float]) -> Iterator[Batch]:
    while True:
        start = time.monotonic()
        batch = next(batches, None)
        if batch is None:
            return
        waits.append(time.monotonic() - start)
        yield batch


def _memory_in_a_process(folder: Path, count: int) -> float:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory, (folder, count))


def _memory(folder: Path, count: int) -> float:
    """MiB that the process holds after it prepared ``count`` cases and cut as many crops as for any other count."""
    config = load_config(ROOT / "app_configs/fedavg.json", {"data": {"crop": CROP}})
    cases = find_cases([folder / "data"])[:count]
    crops = TrainingCrops(cases, ScanCache(folder / f"scans of {count}", config.data), 0, "site")
    for _ in crops.batches(0, MANY, BATCH):
        pass
    ctypes.CDLL(None).malloc_trim(0)  # what glibc keeps for later is no growth, and comes and goes by hundreds of MiB
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="fedpac_me_loading_") as scratch:
        print(*measure(Path(scratch)), sep="\n")
