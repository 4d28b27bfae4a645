# SPDX-License-Identifier: Apache-2.0
"""One local training step, and one whole-volume prediction, against the same network in bare MONAI."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import SegResNet

from bare_monai import BareLoop, plain_prediction, plain_segresnet
from fedpac_me.config import Config, load_config
from fedpac_me.data.crops import TrainingCrops
from fedpac_me.data.scan_cache import ScanCache
from fedpac_me.data.site import folder_settings
from fedpac_me.data.splits import split_cases
from fedpac_me.federation.prototypes import CONTRAST_REGIONS
from fedpac_me.learning.augmentation import crop_augmentation
from fedpac_me.learning.inference import predict
from fedpac_me.learning.trainer import Trainer
from fedpac_me.model.backbone import build_model
from full_size_cases import full_size_scan

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
REPEATS = 5
STEPS = 20


def measure(phantom: Path) -> list[str]:
    """Rows of the table: what, ours, the other, ratio, limit."""
    torch.set_num_threads(1)
    config = load_config(ROOT / "app_configs/fedavg.json")
    network = build_model(config)
    return [
        _step_row(config, network, phantom),
        method_row(phantom),
        view_row(phantom),
        _inference_row(config, network),
    ]


def _step_row(config, network, phantom: Path) -> str:
    crops = _crops(config, phantom)
    trainer = Trainer(build_model(config), config, CPU)
    bare = BareLoop(_plain(network, config), config, CPU)
    ours, theirs = _interleaved(
        lambda: trainer.train_round(crops.batches(0, STEPS, 2), 0), lambda: bare.run(crops.batches(0, STEPS, 2))
    )
    return _row("training step, batch 2 of 32³ (ms)", 1000 * ours / STEPS, 1000 * theirs / STEPS, 1.10)


def method_row(phantom: Path) -> str:
    """The whole method's step, crops and perspectives included, against plain FedAvg's; the last round's, all on."""
    plain, whole = _interleaved(*(training_turn(name, phantom) for name in ("fedavg", "fedpac_me")))
    return _row("training step, FedPAC-ME against FedAvg (ms)", 1000 * whole / STEPS, 1000 * plain / STEPS, 1.40)


def view_row(phantom: Path) -> str:
    """What the second view of L_view adds to the whole method's step, over steps with and without one."""
    without, view = _interleaved(
        training_turn("fedpac_me", phantom), training_turn("fedpac_me", phantom, view_weight=0.05)
    )
    return _row("training step with the second view (ms)", 1000 * view / STEPS, 1000 * without / STEPS, 1.20)


def training_turn(name: str, phantom: Path, **contrast: float) -> Callable[[], object]:
    """A call that trains ``STEPS`` steps of the federation's last round, on one thread."""
    config = load_config(ROOT / f"app_configs/{name}.json", {"contrast": contrast})
    crops = _crops(config, phantom)
    many = config.model.experts
    experts = [number % many for number in range(len(crops))] if many > 1 else None
    trainer = Trainer(build_model(config), config, CPU)
    number = config.federation.rounds - 1

    def turn() -> object:
        if trainer.contrast is not None:
            trainer.contrast.begin_round(number, _prototypes(config))
        batches = crops.batches(number, STEPS, config.learning.batch, experts)
        return trainer.train_round(batches, number * config.learning.steps_per_round)

    return turn


def _crops(config: Config, phantom: Path) -> TrainingCrops:
    cases = split_cases(folder_settings(phantom / "site-1").data).train
    scans = ScanCache(phantom.with_name(f"{phantom.name}-scans"), config.data)
    return TrainingCrops(cases, scans, 0, "site-1", crop_augmentation(config))


def _prototypes(config: Config) -> dict:
    """One of every region and expert, as the server sends them."""
    vectors = np.random.default_rng(0).normal(
        size=(config.model.experts, len(CONTRAST_REGIONS), config.contrast.dimension)
    )
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    entries = [
        {"region": region, "expert": expert, "vector": vectors[expert, number].tolist()}
        for expert in range(config.model.experts)
        for number, region in enumerate(CONTRAST_REGIONS)
    ]
    return {"dimension": config.contrast.dimension, "entries": entries}


def _inference_row(config, network) -> str:
    scan = full_size_scan()
    plain = plain_prediction(_plain(network, config), scan, config, CPU)
    network.to(memory_format=torch.channels_last_3d)
    ours, theirs = _interleaved(lambda: predict(network, scan, config, CPU), plain, repeats=2)
    return _row("prediction of a 240×240×155 volume (s)", ours, theirs, 1.15)


def _plain(network, config) -> SegResNet:
    plain = plain_segresnet(config)
    plain.load_state_dict(network.backbone.state_dict())
    return plain


def _interleaved(one: Callable, other: Callable, repeats: int = REPEATS) -> tuple[float, float]:
    """Median seconds of each, measured in turns so that both see the same machine."""
    one(), other()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for run, times in zip((one, other), seconds, strict=True):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def _row(what: str, ours: float, theirs: float, limit: float) -> str:
    return f"| {what} | {ours:.1f} | {theirs:.1f} | {ours / theirs:.2f} | ≤ {limit:.2f} |"
