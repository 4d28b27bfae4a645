# SPDX-License-Identifier: Apache-2.0
"""A round whose model cannot be read, or whose sums cannot be used: the model is held, and nothing is raised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fedpac_me.federation import merge, server_round
from fedpac_me.federation.server_round import RoundServer

from .contributions import honest, model
from .hostile import Hostile

Make = Callable[..., RoundServer]


@pytest.mark.parametrize("weights", [None, {}, {"a": np.zeros(2, int)}, Hostile(), {"a": Hostile()}, 3], ids=range(6))
def test_a_model_that_cannot_be_read(weights: object) -> None:
    made = RoundServer()
    assert "global model" in made.begin(0, weights)  # type: ignore[arg-type]
    verdict = made.accept(replace(honest(), round=0))
    assert not verdict.ok and "Round 0 takes no updates" in verdict.reason
    result = made.close()
    assert (result.outcome, result.diff) == ("no_quorum", {})
    assert "(server)" in [line.site for line in result.record.rejected]


def test_half_added_sums_are_never_used(server: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = server()
    made.accept(honest("a"))
    with monkeypatch.context() as patched:
        patched.setattr(merge.ExpertWiseMerge, "add", lambda *_: 1 / 0)
        assert "could not be added (ZeroDivisionError)" in made.accept(honest("b")).reason
    assert not made.accept(honest("c")).ok
    result = made.close()
    assert (result.outcome, result.diff) == ("no_quorum", {})


def test_sums_that_cannot_be_merged_hold_the_model(server: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = server(server_momentum=0.5)
    made.accept(honest("a"))
    monkeypatch.setattr(made.server_step, "apply", lambda _: 1 / 0)
    result = made.close()
    assert (result.outcome, result.diff, made.failed_rounds_in_a_row) == ("no_quorum", {}, 1)
    assert [line.reason for line in result.record.rejected] == ["The round could not be merged: ZeroDivisionError."]


def test_a_model_that_no_check_foresees_takes_no_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    made = RoundServer()
    monkeypatch.setattr(server_round, "variances", lambda _: 1 / 0)
    assert made.begin(0, model()) == "The global model could not be read: ZeroDivisionError."
    assert made.close().outcome == "no_quorum"


@pytest.mark.parametrize("number", [None, 1.0, True, "1", Hostile()], ids=range(5))
def test_a_round_that_is_no_number_takes_no_updates(number: object) -> None:
    made = RoundServer()
    assert "The round must be an integer" in made.begin(number, model())  # type: ignore[arg-type]
    assert "takes no updates" in made.accept(honest()).reason
