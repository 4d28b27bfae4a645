# SPDX-License-Identifier: Apache-2.0
"""One round of local training, in plain torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from fedpac_me.config import Config, LearningConfig
from fedpac_me.data.crops import Batch
from fedpac_me.learning.inference import autocast
from fedpac_me.learning.losses import RegionLoss


class TrainingStopped(Exception):
    """The round was given up on request."""


class TrainingFailed(Exception):
    """The round was given up because its result would be garbage; the text says why."""


@dataclass(frozen=True)
class RoundResult:
    """``loss`` is the mean over the round's ``steps``."""

    steps: int
    loss: float


class Trainer:
    """Trains ``model`` in place; keeps the optimiser from round to round."""

    def __init__(self, model: nn.Module, config: Config, device: torch.device) -> None:
        self.model = model.to(device, memory_format=torch.channels_last_3d)
        self.config = config
        self.device = device
        self.loss = RegionLoss()
        self.restore(None)

    def restore(self, optimizer_state: dict[str, Any] | None) -> None:
        """Start from a saved optimiser state, or from a fresh optimiser."""
        learning = self.config.learning
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=learning.learning_rate, weight_decay=learning.weight_decay, fused=True
        )
        if optimizer_state is not None:
            self.optimizer.load_state_dict(optimizer_state)

    def train_round(
        self, batches: Iterable[Batch], first_step: int, should_stop: Callable[[], bool] = lambda: False
    ) -> RoundResult:
        """Train on ``batches``; ``first_step`` counts from the beginning of the federation.

        Raises:
            TrainingStopped: ``should_stop`` said so; it is asked before every step.
            TrainingFailed: the loss or its gradient is not finite.
        """
        self.model.train()
        total = 0.0
        steps = 0
        for batch in batches:
            if should_stop():
                raise TrainingStopped
            self._set_learning_rate(first_step + steps)
            loss = self._step(batch.to(self.device))
            total += loss
            steps += 1
        return RoundResult(steps, total / max(steps, 1))

    def _step(self, batch: Batch) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.config, self.device):
            loss = self.loss(self.model(batch.image, batch.present), batch.regions)
        value = loss.item()
        _require_finite("loss", value)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.learning.clip_norm)
        _require_finite("gradient norm", norm.item())
        self.optimizer.step()
        return value

    def _set_learning_rate(self, step: int) -> None:
        total = self.config.federation.rounds * self.config.learning.steps_per_round
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config.learning, step, total)


def learning_rate(config: LearningConfig, step: int, total: int) -> float:
    """Linear warm-up, then half a cosine over the whole federation (Loshchilov & Hutter 2017)."""
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    cosine = 0.5 * (1 + math.cos(math.pi * min(step / total, 1.0)))
    floor = config.final_learning_rate
    return config.learning_rate * warmup * (floor + (1 - floor) * cosine)


def _require_finite(what: str, value: float) -> None:
    """Stop before a step that would put NaN into the model and the optimiser's moments."""
    if not math.isfinite(value):
        raise TrainingFailed(
            f"the {what} became {value}; nothing of this round is sent, the next one starts from the received model. "
            "Check the site's images, or lower learning.learning_rate."
        )
