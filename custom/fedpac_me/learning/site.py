# SPDX-License-Identifier: Apache-2.0
"""Everything one site does, without FLARE: train a round, validate, evaluate."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedpac_me import __version__
from fedpac_me.config import Config
from fedpac_me.data.crops import TrainingCrops
from fedpac_me.data.layouts import Case
from fedpac_me.data.scan import Scan, load_scan
from fedpac_me.data.site import SiteSettings
from fedpac_me.data.splits import split_cases
from fedpac_me.errors import InputError
from fedpac_me.evaluation.metrics import case_metrics, region_dice
from fedpac_me.evaluation.picture import case_picture
from fedpac_me.federation.schema import signature
from fedpac_me.federation.update import PROTOCOL
from fedpac_me.labels import REGIONS
from fedpac_me.learning.inference import predict_labels
from fedpac_me.learning.site_state import SiteState
from fedpac_me.learning.trainer import Trainer, TrainingStopped
from fedpac_me.model.backbone import build_model, get_weights, set_weights

Weights = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class SiteUpdate:
    """What a site answers to a round: ``diff`` (empty when it abstains) and the meta of the wire contract."""

    diff: dict[str, np.ndarray]
    meta: dict[str, Any]


class Site:
    """One hospital's side of the federation. Reads its training cases when they are first needed."""

    def __init__(self, name: str, config: Config, settings: SiteSettings, folder: Path) -> None:
        """``folder`` is the site's own, for its state and its pictures. Raises ``InputError`` on bad data."""
        self.name = name
        self.config = config
        self.role = settings.role
        self.trains = settings.role == ("pooled" if config.pooled else "train")
        self.device = choose_device(settings.device)
        if self.device.type == "cpu":
            torch.set_num_threads(config.learning.cpu_threads)
        torch.use_deterministic_algorithms(self.device.type == "cpu")
        self.split = split_cases(settings.data)
        if self.trains and not self.split.train:
            raise InputError(
                f"Site {name} has the role '{self.role}' but no training cases. "
                'Add cases, or set "role": "evaluate" in its settings.'
            )
        self.trainer = Trainer(build_model(config.model, config.seed), config, self.device)
        self._folder = folder
        self._crops: TrainingCrops | None = None
        self._validation: list[Scan] | None = None

    def train(self, weights: Weights, round_number: int, should_stop: Callable[[], bool] = lambda: False) -> SiteUpdate:
        """One round: validate the received model, train it, return the difference.

        Raises:
            TrainingStopped: ``should_stop`` said so.
            TrainingFailed: the loss or its gradient is not finite.
            InputError: a case is unusable.
        """
        start = time.monotonic()
        state = SiteState.load(self._folder, self.device, before=round_number)
        self._receive(weights, state)
        metrics = self._validate(round_number, should_stop)
        if not self.trains:
            return SiteUpdate({}, self._meta(weights, metrics, start, abstained=True))
        self.trainer.restore(state.optimizer if state is not None else None)
        result = self.trainer.train_round(
            self.crops.batches(round_number, self.config.learning.steps_per_round, self.config.learning.batch),
            first_step=round_number * self.config.learning.steps_per_round,
            should_stop=should_stop,
        )
        metrics["train_loss"] = result.loss
        self._save_state(round_number)
        if self._keeps_own_model:
            return SiteUpdate({}, self._meta(weights, metrics, start, abstained=True))
        # asarray: the difference of two 0-d arrays would be a scalar, which the wire contract refuses.
        trained = get_weights(self.trainer.model)
        diff = {name: np.asarray(value - weights[name]) for name, value in trained.items()}
        meta = self._meta(weights, metrics, start, cases=len(self.crops), steps=result.steps)
        return SiteUpdate(diff, meta)

    def evaluate(
        self, weights: Weights, model_name: str, should_stop: Callable[[], bool] = lambda: False
    ) -> dict[str, Any]:
        """Metrics of every test case under ``weights``, by ordinal, never by id; draws one picture, kept here.

        A pooled site has none of its own: the test cases belong to the hospitals they came from.
        """
        set_weights(self.trainer.model, weights)
        rows = []
        for ordinal, case in enumerate([] if self.role == "pooled" else self.split.test, start=1):
            start = time.monotonic()
            scan = self._load(case)
            prediction = self._predict(scan, should_stop)
            metrics = case_metrics(prediction, scan.uncrop(scan.labels), scan.spacing_mm)
            rows.append({"case": ordinal, **metrics, "seconds": time.monotonic() - start})
            if ordinal == 1:
                self._draw(scan, prediction, model_name)
        return {"role": self.role, "cases": rows}

    def own_weights(self) -> dict[str, np.ndarray] | None:
        """The site's own model where nothing is shared; ``None`` before its first round or when it never trains."""
        state = SiteState.load(self._folder, torch.device("cpu"))
        if state is None or state.weights is None:
            return None
        return {name: value.numpy() for name, value in state.weights.items()}

    @property
    def crops(self) -> TrainingCrops:
        """The training scans, read on first use."""
        if self._crops is None:
            self._crops = TrainingCrops(self.split.train, self.config.data, self.config.seed, self.name)
        return self._crops

    @property
    def _keeps_own_model(self) -> bool:
        return self.config.federation.share == "nothing"

    def _receive(self, weights: Weights, state: SiteState | None) -> None:
        own = state.weights if self._keeps_own_model and state is not None else None
        set_weights(self.trainer.model, weights if own is None else own)

    def _save_state(self, round_number: int) -> None:
        weights = self.trainer.model.state_dict() if self._keeps_own_model else None
        SiteState(self.trainer.optimizer.state_dict(), weights).save(self._folder, round_number)

    def _validate(self, round_number: int, should_stop: Callable[[], bool]) -> dict[str, float]:
        """Mean Dice of the model at hand over the validation cases, in the rounds that validate."""
        if round_number % self.config.evaluation.validation_every or not self.split.validation:
            return {}
        if self._validation is None:
            self._validation = [self._load(case) for case in self.split.validation]
        scores = [
            region_dice(self._predict(scan, should_stop)[scan.box], scan.labels).values() for scan in self._validation
        ]
        means = np.mean([list(score) for score in scores], axis=0)
        dice = {f"dice_{region}": float(mean) for region, mean in zip(REGIONS, means, strict=True)}
        return {**dice, "dice_mean": float(means.mean())}

    def _load(self, case: Case) -> Scan:
        return load_scan(case, self.config.data.max_missing_modalities)

    def _predict(self, scan: Scan, should_stop: Callable[[], bool]) -> np.ndarray:
        if should_stop():
            raise TrainingStopped
        return predict_labels(self.trainer.model, scan, self.config, self.device)

    def _draw(self, scan: Scan, prediction: np.ndarray, model_name: str) -> None:
        path = self._folder / "pictures" / f"{model_name}.png"
        case_picture(scan.image, scan.present, scan.labels, prediction[scan.box], path, title=self.name)

    def _meta(self, weights: Weights, metrics: dict[str, float], start: float, **facts: Any) -> dict[str, Any]:
        return {
            "protocol": PROTOCOL,
            "signature": signature(weights),
            "code": __version__,
            "metrics": metrics,
            "seconds": time.monotonic() - start,
            **facts,
        }


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
