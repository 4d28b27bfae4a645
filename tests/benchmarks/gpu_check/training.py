# SPDX-License-Identifier: Apache-2.0
"""Steps a second of the whole method, of the same backbone trained plainly, and of bare MONAI; what they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import torch

from bare_monai import BareLoop, plain_segresnet
from fedpac_me.config import Config
from fedpac_me.data.crops import Batch
from fedpac_me.data.prefetch import prefetched, ready_for
from fedpac_me.federation.prototypes import CONTRAST_REGIONS
from fedpac_me.learning.trainer import Trainer
from fedpac_me.model.backbone import build_model
from gpu_check.figure import Figure, slower_by
from gpu_check.setting import Setting
from gpu_check.turns import in_turns, peak_gib

STEP_LIMIT, RATE_LIMIT = 1.20, 0.85


def step(setting: Setting) -> Iterator[Figure]:
    """FedPAC-ME's step, in the last round where all of it is on, against the plain step of the same backbone."""
    turns = [turn(setting, config) for config in (setting.method(), setting.plain())]
    seconds = in_turns(*turns, setting.repeats, setting.device)
    ours, other = (1000 * one / setting.steps for one in seconds)
    yield slower_by("step of FedPAC-ME against the plain one (ms)", (ours, other), STEP_LIMIT)


def rate(setting: Setting) -> Iterator[Figure]:
    """Samples a second of the whole method against bare MONAI's, both with the same switches."""
    for filters in setting.filters:
        for compiled in (False, True) if setting.compiles else (False,):
            config = setting.method({"model": {"filters": filters}, "learning": {"compile": compiled}})
            bare = BareLoop(plain_segresnet(config), config, setting.device)
            plain_batches = setting.batches(config)
            seconds = in_turns(
                turn(setting, config),
                lambda bare=bare, batches=plain_batches: bare.run(_ahead(setting, batches)),
                setting.repeats,
                setting.device,
            )
            samples = setting.steps * config.learning.batch
            ours, other = (samples / one for one in seconds)
            what = f"SegResNet-{filters}, {config.data.crop}³, batch {config.learning.batch}"
            what += f"{', compiled' if compiled else ''}: samples a second against bare MONAI's"
            yield Figure(what, ours / other, limit=RATE_LIMIT, at_least=True, ours=ours, other=other)


def memory(setting: Setting) -> Iterator[Figure]:
    """GiB at most of a round's steps; with and without activations kept."""
    for filters in setting.filters:
        for saving in (False, True):
            config = setting.method({"model": {"filters": filters}, "learning": {"checkpointing": saving}})
            held = peak_gib(turn(setting, config), setting.device)
            what = f"SegResNet-{filters}, {config.data.crop}³, batch {config.learning.batch}: memory at most"
            yield Figure(f"{what}{' with learning.checkpointing' if saving else ''}", held, "GiB")


def turn(setting: Setting, config: Config) -> Callable[[], list[float]]:
    """A call that trains ``steps`` steps of the federation's last round and gives the losses."""
    trainer = Trainer(build_model(config), config, setting.device)
    batches, number = setting.batches(config), config.federation.rounds - 1

    def trained() -> list[float]:
        if trainer.contrast is not None:
            trainer.contrast.begin_round(number, _prototypes(config))
        first = number * config.learning.steps_per_round
        ahead = _ahead(setting, batches)
        return [trainer.step(batch.to(setting.device), first + count)["loss"] for count, batch in enumerate(ahead)]

    return trained


def _ahead(setting: Setting, batches: list[Batch]) -> Iterator[Batch]:
    with closing(prefetched(ready_for(setting.device, iter(batches)))) as ahead:
        yield from ahead


def _prototypes(config: Config) -> dict:
    """One of every region and expert, as the server sends them."""
    experts, dimension = config.model.experts, config.contrast.dimension
    vectors = np.random.default_rng(0).normal(size=(experts, len(CONTRAST_REGIONS), dimension))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    entries = [
        {"region": region, "expert": expert, "vector": vectors[expert, number].tolist()}
        for expert in range(experts)
        for number, region in enumerate(CONTRAST_REGIONS)
    ]
    return {"dimension": dimension, "entries": entries}


def same_seed_twice(setting: Setting) -> Iterator[Figure]:
    """How far two loss curves of the same seed lie apart, with torch's deterministic algorithms and as usual.

    Where CUDA has no deterministic form of an operation torch takes the other, so this is a band, 0 at best.
    """
    before = torch.are_deterministic_algorithms_enabled()
    for deterministic in (True, False):
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        try:
            one, other = (np.array(turn(setting, setting.method())()) for _ in range(2))
        finally:
            torch.use_deterministic_algorithms(before)
        how = "deterministic algorithms" if deterministic else "usual algorithms"
        what = f"same seed twice, {how}: losses of {setting.steps} steps apart at most"
        yield Figure(what, float(np.max(np.abs(one - other) / np.abs(one))), "of the loss")
