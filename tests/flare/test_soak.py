# SPDX-License-Identifier: Apache-2.0
"""Two hundred rounds of eight sites that die, answer late, twice, or with nonsense, by a schedule drawn from a seed."""

from __future__ import annotations

import json
import logging
import math
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey
from nvflare.app_common.abstract.model import make_model_learnable
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType

from federation.contributions import as_bytes, facts_of, honest, model
from federation.rejections import spoiled
from fedpac_me.federation.update import Contribution
from fedpac_me.flare.error_reply import error_reply
from flare_server import Server, shareable_of
from test_malformed_updates import malformed

ROUNDS, SITES = 200, [f"site-{number}" for number in range(8)]
FAULTS = ("dead", "late", "malformed", "not finite", "error reply", "twice")
SHARE_OF_FAULTS = 0.5
pytestmark = pytest.mark.slow
OPTIONS = {"quorum": 2, "server_momentum": 0.5, "abort_after_failed_rounds": ROUNDS, "clip_norm_factor": 3.0}


@pytest.fixture(scope="module")
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Soak:
    """A federation in which every site does in every round what the schedule says.

    Args:
        honest_only: leave out all that is not an honest update of the round.
    """

    def __init__(self, folder: Path, honest_only: bool) -> None:
        self.server = Server(folder, 0, model(), **OPTIONS)
        self.rng = np.random.default_rng(2026)
        self.honest_only = honest_only
        self.accepted: list[set[str]] = []

    def run(self, rounds: int) -> dict[str, np.ndarray]:
        weights: dict[str, np.ndarray] = {}
        for _ in range(rounds):
            weights = self._round()
        return weights

    def _round(self) -> dict[str, np.ndarray]:
        server, number = self.server, self.server.number
        server.tell(AppEventType.ROUND_STARTED, server.context())
        self.accepted.append(set())
        for at in self.rng.permutation(len(SITES)):
            faulty = self.rng.random() < SHARE_OF_FAULTS
            fault = str(self.rng.choice(FAULTS)) if faulty else ""
            self._answer(SITES[at], number, fault, np.random.default_rng([number, int(at)]))
        weights = server.close()
        server.learnable = make_model_learnable(dict(weights), {})
        server.number += 1
        return weights

    def _answer(self, site: str, number: int, fault: str, rng: np.random.Generator) -> None:
        good = update(site, number)
        if fault in ("", "twice"):
            assert self._send(good)
            self.accepted[-1].add(site)
        if self.honest_only:
            return
        if fault == "twice":
            assert not self._send(good)
        elif fault == "late":
            assert not self._send(update(site, number - 1))
        elif fault == "malformed":
            assert not self.server.accept(malformed(rng), site)
        elif fault == "not finite":
            assert not self._send(spoiled(math.nan)(good))
        elif fault == "error reply":
            self._reply_with_an_error(site)

    def _send(self, sent: Contribution) -> bool:
        return self.server.accept(shareable_of(sent), sent.site)

    def _reply_with_an_error(self, site: str) -> None:
        fl_ctx = self.server.context(site)
        fl_ctx.set_prop(FLContextKey.TASK_NAME, AppConstants.TASK_TRAIN, private=True, sticky=False)
        fl_ctx.set_prop(FLContextKey.TASK_RESULT, error_reply("memory ran out"), private=True, sticky=False)
        self.server.tell(EventType.BEFORE_PROCESS_SUBMISSION, fl_ctx)


def update(site: str, number: int) -> Contribution:
    """The honest update of ``site`` in round ``number``: another one every round."""
    index = SITES.index(site)
    diff = honest(site, seed=1000 * index + number + 1).diff
    return Contribution(site, "WEIGHT_DIFF", number, diff, facts_of(model(), 4 + 8 * index))


@dataclass(frozen=True)
class Soaked:
    """All rounds with faults: the model, who was accepted, the ledger, and the bytes of arrays held as time went by."""

    weights: dict[str, np.ndarray]
    accepted: list[set[str]]
    rounds: list[dict[str, Any]]
    held: list[int]


@pytest.fixture(scope="module")
def soaked(tmp_path_factory, quiet) -> Soaked:
    folder, held = tmp_path_factory.mktemp("soak"), []
    soak = Soak(folder, False)
    tracemalloc.start()
    try:
        for _ in range(4):
            weights = soak.run(ROUNDS // 4)
            only_arrays = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
            snapshot = tracemalloc.take_snapshot().filter_traces([only_arrays])
            held.append(sum(trace.size for trace in snapshot.traces))
    finally:
        tracemalloc.stop()
    rounds = json.loads((folder / "fedpac_me/ledger.json").read_text())["rounds"]
    return Soaked(weights, soak.accepted, rounds, held)


def test_the_model_is_that_of_the_honest_updates_alone_and_the_ledger_knows_who_they_were(soaked, tmp_path, quiet):
    weights, rounds = soaked.weights, soaked.rounds
    assert as_bytes(weights) == as_bytes(Soak(tmp_path, True).run(ROUNDS))
    assert all(np.isfinite(value).all() and value.any() for value in weights.values())
    assert [{line["site"] for line in entry["accepted"]} for entry in rounds] == soaked.accepted
    assert {entry["outcome"] for entry in rounds} <= {"merged", "no_quorum"}
    refused = [line["reason"] for entry in rounds for line in entry["rejected"]]
    assert len(refused) > ROUNDS
    assert all(any(words in reason for reason in refused) for words in ("memory ran out", "round", "NaN"))


def test_it_keeps_no_more_arrays_after_many_rounds_than_after_few(soaked):
    assert 0 < soaked.held[-1] <= soaked.held[0]
