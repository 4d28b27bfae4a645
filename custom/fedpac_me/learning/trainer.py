# SPDX-License-Identifier: Apache-2.0
"""One round of local training, in plain torch."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from fedpac_me.config import Config, LearningConfig
from fedpac_me.data.crops import Batch
from fedpac_me.learning.algorithms.algorithm import Algorithm
from fedpac_me.learning.contrast import ContrastLoss
from fedpac_me.learning.inference import autocast
from fedpac_me.learning.losses import ALONE, RegionLoss, Whole
from fedpac_me.learning.perspectives import FGSM_EPSILON, fgsm
from fedpac_me.model.backbone import SegmentationNet
from fedpac_me.model.router import Routing

if TYPE_CHECKING:
    from fedpac_me.learning.ranks import Ranks


class TrainingStopped(Exception):
    """The round was given up on request."""


class TrainingFailed(Exception):
    """The round was given up because its result would be garbage; the text says why."""


@dataclass(frozen=True)
class RoundResult:
    """``loss`` and each of ``terms``, what PACL and the algorithm add to it, are means over the round's ``steps``."""

    steps: int
    loss: float
    terms: dict[str, float] = field(default_factory=dict)


class Trainer:
    """Trains ``model`` in place; keeps the optimiser from round to round."""

    def __init__(
        self,
        model: SegmentationNet,
        config: Config,
        device: torch.device,
        algorithm: Algorithm | None = None,
        ranks: Ranks | None = None,
        whole: Whole = ALONE,
    ) -> None:
        """``ranks``: the processes that share the batches, where there are several and this one leads; ``whole``: the
        batch, where this one does not.
        """
        self.model = model.to(device, memory_format=torch.channels_last_3d)
        self.config = config
        self.device = device
        self.algorithm = algorithm or Algorithm(self.model)
        self.ranks = ranks
        whole = whole if ranks is None else ranks.whole
        self.loss = RegionLoss(whole)
        self.contrast = (
            ContrastLoss(config.contrast, model.embedder, config.model.experts, config.federation.rounds, whole)
            if model.embedder is not None
            else None
        )
        self.restore(None)

    def restore(self, optimizer_state: dict[str, Any] | None) -> None:
        """Start from a saved optimiser state, or from a fresh optimiser."""
        learning = self.config.learning
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=learning.learning_rate, weight_decay=learning.weight_decay, fused=True
        )
        if optimizer_state is not None:
            # A copy: torch takes tensors over as they are, and steps that are given up would move the caller's.
            self.optimizer.load_state_dict(copy.deepcopy(optimizer_state))

    def begin_round(self, optimizer_state: dict[str, Any] | None, round_number: int, prototypes: object) -> None:
        """Before ``train_round``: the optimiser's saved state, the round (from 0), the server's prototypes.

        Raises:
            InputError: the prototypes cannot be used.
            TrainingFailed: the processes that share the batches cannot be started.
        """
        self.restore(optimizer_state)
        if self.contrast is not None:
            self.contrast.begin_round(round_number, prototypes)
        if self.ranks is not None:
            self.ranks.begin_round(round_number, prototypes)

    def train_round(
        self, batches: Iterable[Batch], first_step: int, should_stop: Callable[[], bool] = lambda: False
    ) -> RoundResult:
        """Train on ``batches``; ``first_step`` counts from the beginning of the federation.

        Raises:
            TrainingStopped: ``should_stop`` said so; it is asked before every step.
            TrainingFailed: the loss or its gradient is not finite, or a process that shares the batches has failed.
        """
        self.model.train()
        totals = Counter({"loss": 0.0})
        steps = 0
        for batch in batches:
            if should_stop():
                raise TrainingStopped
            if self.ranks is None:
                batch = batch.to(self.device)
            self.algorithm.begin_step(steps)
            totals.update(self.step(batch, first_step + steps))
            self.algorithm.end_step(batch, first_step + steps)
            steps += 1
        self.algorithm.end_round()
        if self.ranks is not None and self.contrast is not None:
            self.ranks.add_sums_to(self.contrast.sums)
        means = {name: total / max(steps, 1) for name, total in totals.items()}
        return RoundResult(steps, means.pop("loss"), means)

    def step(self, batch: Batch, step: int) -> dict[str, float]:
        """One step on ``batch``; returns the segmentation loss and what is added to it.

        Raises ``TrainingFailed``.
        """
        self._set_learning_rate(step)
        self.optimizer.zero_grad(set_to_none=True)
        terms = self.gradients(batch, step) if self.ranks is None else self.ranks.gradients(self, batch, step)
        values = {name: term.item() for name, term in terms.items()}
        for name, value in values.items():
            _require_finite(name, value)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.learning.clip_norm)
        _require_finite("gradient norm", norm.item())
        self.algorithm.adjust_gradients()
        if self.config.router.refine != "nothing" and step % self.config.router.refine_every == 0:
            self._refine_gate(batch)
        self.optimizer.step()
        return values

    def gradients(self, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        """Adds the gradient of the loss of ``batch`` to the parameters' ``grad``; returns the terms of the loss."""
        if _drawn(self.config, step):
            batch = self._attacked(batch)
        with autocast(self.config, self.device):
            terms = self._losses(batch, step)
        sum(terms.values()).backward()
        return {name: term.detach() for name, term in terms.items()}

    def _attacked(self, batch: Batch) -> Batch:
        """The batch, changed in the way that the network minds most (``perspectives.fgsm``)."""
        image = batch.image.detach().requires_grad_()
        with autocast(self.config, self.device):
            logits = self.model(image, batch.present, [Routing(expert) for expert in batch.experts])
            (gradient,) = torch.autograd.grad(self.loss(logits, batch.regions), image)
        epsilon = FGSM_EPSILON * self.config.perspectives.fgsm.strength
        return replace(batch, image=fgsm(batch.image, gradient, epsilon))

    def _losses(self, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        routes = [Routing(expert) for expert in batch.experts]
        logits, features = self.model.with_features(batch.image, batch.present, routes)
        terms = {"loss": self.loss(logits, batch.regions), **self.algorithm.losses(batch, features, routes)}
        if self.contrast is None:
            return terms
        second = None
        if batch.second is not None and self.contrast.wants_second(step):
            levels = self.model.embedder.levels
            second = self.model.coarse_features(batch.second, batch.second_present, routes, levels)
        contrast = self.contrast(features, batch.image, batch.regions, batch.experts, second)
        return terms | {f"pacl_{name}": term for name, term in contrast.items()}

    def _refine_gate(self, batch: Batch) -> None:
        """Give the gate, and nothing else, its gradient: of the loss with the experts mixed as it would mix them.

        Experts must not learn here, or those that no scan of the site uses would.
        """
        parameters = list(self.model.router.gate.parameters())
        with autocast(self.config, self.device):
            logits = self.model.mixed(batch.image, batch.present, self.model.router.gates(batch.styles))
            gradients = torch.autograd.grad(self.loss(logits, batch.regions), parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient

    def _set_learning_rate(self, step: int) -> None:
        total = self.config.federation.rounds * self.config.learning.steps_per_round
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config.learning, step, total)


def _drawn(config: Config, step: int) -> bool:
    """Whether this step's batch is attacked; the same for the same seed, whatever ran before."""
    probability = config.perspectives.fgsm.probability
    return probability > 0 and np.random.default_rng([config.seed, step]).random() < probability


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
