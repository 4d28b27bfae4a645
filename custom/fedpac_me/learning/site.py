# SPDX-License-Identifier: Apache-2.0
"""Everything one site does, without FLARE: train a round, validate, evaluate."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedpac_me import __version__
from fedpac_me.config import Config
from fedpac_me.data.crops import TrainingCrops
from fedpac_me.data.layouts import Case, acquisition_facts
from fedpac_me.data.prefetch import prefetched, ready_for
from fedpac_me.data.scan import Scan, load_scan
from fedpac_me.data.scan_cache import ScanCache
from fedpac_me.data.site import SiteSettings
from fedpac_me.data.splits import site_cases
from fedpac_me.data.style import known_figures
from fedpac_me.errors import InputError
from fedpac_me.evaluation.expert_picture import OwnedScans
from fedpac_me.evaluation.picture import case_picture
from fedpac_me.federation import keys
from fedpac_me.federation.precision import widened
from fedpac_me.federation.schema import signature
from fedpac_me.federation.update import PROTOCOL
from fedpac_me.learning.algorithms.choice import chosen_algorithm
from fedpac_me.learning.augmentation import crop_augmentation
from fedpac_me.learning.case_scores import case_scores, routing_facts, with_pair_matching
from fedpac_me.learning.device import choose_device, prepare_torch
from fedpac_me.learning.difference import difference, rounded, without_unused
from fedpac_me.learning.encoding import encoded_twice
from fedpac_me.learning.inference import Prediction, predict
from fedpac_me.learning.local_model import load_local_model, save_local_model
from fedpac_me.learning.out_of_memory import with_smaller_patches
from fedpac_me.learning.ranks import Ranks
from fedpac_me.learning.readable_cases import ReadableCases
from fedpac_me.learning.site_state import SiteState
from fedpac_me.learning.trainer import RoundResult, Trainer, TrainingFailed, TrainingStopped
from fedpac_me.learning.validation import mean_dice
from fedpac_me.model.backbone import build_model, get_weights, set_weights
from fedpac_me.model.own import own_state, set_own_state
from fedpac_me.model.router import Routing

SCANS_FOLDER = "scans"
"""Below a site's own folder: its prepared scans, where its settings name no ``cache``."""
Weights = Mapping[str, np.ndarray]
_NO_META: Mapping[str, Any] = {}


@dataclass(frozen=True)
class SiteUpdate:
    """What a site answers to a round: ``diff`` (empty when it abstains) and the meta of the wire contract."""

    diff: dict[str, np.ndarray]
    meta: dict[str, Any]


class Site:
    """One hospital's side of the federation. Reads its training cases when they are first needed."""

    def __init__(
        self, name: str, config: Config, settings: SiteSettings, folder: Path, states: Path | None = None
    ) -> None:
        """``folder`` is the site's own, for its pictures and, unless ``states`` is another, its state.

        Raises ``InputError`` on bad data, or where the training cannot be shared by the ranks of the settings.
        """
        self.name = name
        self.config = config
        self.role = settings.role
        self.trains = settings.role == ("pooled" if config.pooled else "train")
        self.device = choose_device(settings.device)
        prepare_torch(self.device, config.learning.cpu_threads)
        self.split = site_cases(settings)
        if self.trains and not self.split.train:
            raise InputError(
                f"Site {name} has the role '{self.role}' but no training cases. "
                'Add cases, or set "role": "evaluate" in its settings.'
            )
        model = build_model(config)
        self._untrained_own = {name: value.clone() for name, value in own_state(model).items()}
        ranks = Ranks(settings.ranks, config, self.device) if self.trains and settings.ranks > 1 else None
        self.trainer = Trainer(model, config, self.device, chosen_algorithm(model, config, self.device, ranks), ranks)
        self._folder = folder
        self._states = states or folder
        self._scans = ScanCache(settings.cache or folder / SCANS_FOLDER, config.data)
        self.readable = ReadableCases(config.data.max_unusable)
        self._crops: TrainingCrops | None = None
        self._site_styles: np.ndarray | None = None

    def answer(self, question: Mapping[str, Any]) -> keys.Answer | None:
        """What the site says about the style of its training scans (``federation.keys``); ``None`` if it never trains.

        Raises ``InputError`` when a case is unusable.
        """
        if not self.trains:
            return None
        styles = self.crops.styles
        return keys.answer(question, styles, known_figures(styles), self.config.router.local_clusters, self.config.seed)

    def train(
        self,
        weights: Weights,
        round_number: int,
        should_stop: Callable[[], bool] = lambda: False,
        server_meta: Mapping[str, Any] = _NO_META,
    ) -> SiteUpdate:
        """One round: validate the received model, train it, return the difference.

        Raises:
            TrainingStopped: ``should_stop`` said so.
            TrainingFailed: the received model, the loss or its gradient is not finite, or a rank has failed.
            InputError: a case is unusable.
        """
        start, weights = time.monotonic(), widened(weights)
        state = SiteState.load(self._states, self.device, before=round_number)
        self._receive(weights, state)
        validates = round_number % self.config.evaluation.validation_every == 0
        metrics = self.validation(should_stop) if validates else {}
        if not self.trains:
            return SiteUpdate({}, self._meta(weights, metrics, start, abstained=True))
        experts = self._experts_of_cases()

        def attempt() -> RoundResult:
            optimizer = state.optimizer if state is not None else None
            self.trainer.begin_round(optimizer, round_number, server_meta.get("prototypes"))
            return self._trained(round_number, experts, should_stop)

        result = with_smaller_patches(attempt, lambda: self._shrunk(weights, state))
        metrics |= {"train_loss": result.loss, **result.terms}
        if self._keeps_own_model:
            self._save_state(round_number)
            return SiteUpdate({}, self._meta(weights, metrics, start, abstained=True))
        if self.config.evaluation.local_models and round_number == self.config.federation.rounds - 1:
            save_local_model(self._states, get_weights(self.trainer.model))
        diff, facts = self._learned(weights, experts)
        diff, unsent = rounded(diff, state, self.config.federation.upload)
        self._save_state(round_number, unsent)
        return SiteUpdate(diff, self._meta(weights, metrics, start, steps=result.steps, **facts))

    def evaluate(
        self, weights: Weights, model_name: str, should_stop: Callable[[], bool] = lambda: False
    ) -> dict[str, Any]:
        """Metrics of every test case under ``weights``, by ordinal, never by id; draws pictures, kept here.

        A pooled site has none of its own: the test cases belong to the hospitals they came from.
        """
        self._receive_whole(weights, SiteState.load(self._states, self.device))
        rows, owned, encoded = [], OwnedScans(self.name), []
        cases = [] if self.role == "pooled" else self.split.test
        for ordinal, case in enumerate(cases, start=1):
            start = time.monotonic()
            scan = self.readable.load(case, cases, self._load)
            if scan is None:
                continue
            labels, route, metrics = self._scored(scan, should_stop)
            seconds = time.monotonic() - start
            if route is not None:
                metrics |= routing_facts(route, self._predict(scan, should_stop, route.by_second()), scan)
                owned.add(route.expert, route.distance, scan.image, scan.present)
            rows.append({"case": ordinal, **metrics, **acquisition_facts(case), "seconds": seconds})
            encoded += encoded_twice(self.trainer.algorithm.speaker, scan, self.config, self.device, route)
            if len(rows) == 1:
                self._draw(scan, labels, model_name)
        owned.draw(self._folder, model_name)
        return {"role": self.role, "cases": with_pair_matching(rows, encoded)}

    def local_weights(self) -> dict[str, np.ndarray] | None:
        """The model trained here, for an evaluation at every site; ``None`` when it never trains or may not leave.

        Where nothing is shared, the site's own model; otherwise, where ``evaluation.local_models`` allows it, the
        shared weights as the last round left them, without what a site keeps for itself.
        """
        if not self._keeps_own_model:
            return load_local_model(self._states)
        state = SiteState.load(self._states, torch.device("cpu"))
        return {name: value.numpy() for name, value in state.weights.items()} if state is not None else None

    def validation(self, should_stop: Callable[[], bool] = lambda: False) -> dict[str, float]:
        """Mean Dice of the model at hand over the validation cases; empty where there are none."""
        cases = self.split.validation
        if not cases:
            return {}
        found = (self.readable.load(case, cases, self._scans.load) for case in cases)
        scans = (prepared.scan for prepared in found if prepared is not None)
        return mean_dice((self._predict(s, should_stop, self._route(s)).labels[s.box], s.labels) for s in scans)

    @property
    def crops(self) -> TrainingCrops:
        """The training scans, read on first use."""
        if self._crops is None:
            augmentation = crop_augmentation(self.config)
            cases = self.readable.among(self.split.train, self._scans.load)
            # What is still to be done to a batch on its device cannot be sent to another process.
            device = self.device if self.trainer.ranks is None else torch.device("cpu")
            self._crops = TrainingCrops(cases, self._scans, self.config.seed, self.name, augmentation, device)
        return self._crops

    def _route(self, scan: Scan) -> Routing | None:
        """Who speaks for ``scan``; ``None`` where the model has no experts."""
        router = self.trainer.model.router
        if router is None:
            return None
        if self.config.router.keys == "style":
            return router.route(scan.style)
        if self._site_styles is None:
            # A site that never trains has no other scans to say what it is like; their labels are not looked at.
            cases = [] if self.trains else [*self.split.validation, *self.split.test]
            self._site_styles = self.crops.styles if self.trains else np.stack([self._load(c).style for c in cases])
        return router.route_site(self._site_styles, self.trains)

    def _experts_of_cases(self) -> list[int] | None:
        """The expert of every training case, or ``None`` where the model has none."""
        router = self.trainer.model.router
        if router is None:
            return None
        if self.config.router.keys == "site":
            return [router.route_site(self.crops.styles, trained=True).expert] * len(self.crops)
        return [router.route(style).expert for style in self.crops.styles]

    def _scored(
        self, scan: Scan, should_stop: Callable[[], bool]
    ) -> tuple[np.ndarray, Routing | None, dict[str, float | int | None]]:
        """Labels of a test case, who spoke for it, and its scores. Its logits, the largest part, are let go."""
        prediction = self._predict(scan, should_stop, self._route(scan))
        return prediction.labels, prediction.route, case_scores(prediction, scan)

    @property
    def _keeps_own_model(self) -> bool:
        return self.config.federation.share == "nothing"

    def _trained(self, round_number: int, experts: list[int] | None, should_stop: Callable[[], bool]) -> RoundResult:
        learning = self.config.learning
        batches = self.crops.batches(round_number, learning.steps_per_round, learning.batch, experts)
        with closing(prefetched(ready_for(self.device, batches))) as ahead:
            return self.trainer.train_round(ahead, round_number * learning.steps_per_round, should_stop)

    def _learned(self, weights: Weights, experts: list[int] | None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What the round changed in ``weights``, and the facts by which the server merges it."""
        diff = difference(get_weights(self.trainer.model), weights)
        facts: dict[str, Any] = {"cases": len(self.crops)}
        if experts is not None:
            # Cases that each expert answered for.
            facts["expert_mass"] = np.bincount(experts, minlength=self.config.model.experts).astype(float).tolist()
            diff = without_unused(diff, facts["expert_mass"], self.config.federation.expert_merge)
        sums = self.trainer.contrast.sums_meta() if self.trainer.contrast is not None else None
        if sums is not None:
            facts["prototypes"] = sums
        return diff, facts

    def _receive(self, weights: Weights, state: SiteState | None) -> None:
        if not all(np.isfinite(value).all() for value in weights.values()):
            raise TrainingFailed("the received model holds NaN or infinity; this round is given up")
        self._receive_whole(state.weights if self._keeps_own_model and state is not None else weights, state)

    def _receive_whole(self, weights: Weights, state: SiteState | None) -> None:
        set_weights(self.trainer.model, weights)
        set_own_state(self.trainer.model, state.weights if state is not None else self._untrained_own)
        self.trainer.algorithm.begin(state)

    def _shrunk(self, weights: Weights, state: SiteState | None) -> bool:
        """Whether smaller patches are possible; the received model again, for another attempt with them."""
        self._receive(weights, state)
        return self.crops.shrink()

    def _save_state(self, round_number: int, unsent: Mapping[str, torch.Tensor] = _NO_META) -> None:
        algorithm = self.trainer.algorithm
        weights = self.trainer.model.state_dict() if self._keeps_own_model else algorithm.own_weights()
        state = SiteState(self.trainer.optimizer.state_dict(), weights, algorithm.kept(), dict(unsent))
        state.save(self._states, round_number)

    def _load(self, case: Case) -> Scan:
        data = self.config.data
        return load_scan(case, data.max_missing_modalities, resample=data.resample)

    def _predict(self, scan: Scan, should_stop: Callable[[], bool], route: Routing | None) -> Prediction:
        if should_stop():
            raise TrainingStopped
        return predict(self.trainer.algorithm.speaker, scan, self.config, self.device, route)

    def _draw(self, scan: Scan, prediction: np.ndarray, model_name: str) -> None:
        path = self._folder / "pictures" / f"{model_name}.png"
        case_picture(scan.image, scan.present, scan.labels, prediction[scan.box], path, title=self.name)

    def _meta(self, weights: Weights, metrics: dict[str, float], start: float, **facts: Any) -> dict[str, Any]:
        return {
            "protocol": PROTOCOL,
            "signature": signature(weights),
            "code": __version__,
            "metrics": metrics | self.readable.figures,
            "seconds": time.monotonic() - start,
            **facts,
        }
