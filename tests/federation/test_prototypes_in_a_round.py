# SPDX-License-Identifier: Apache-2.0
"""Prototypes on their way through a round: with an accepted update, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fedpac_me.config import parse_config
from fedpac_me.federation.prototype_server import PrototypeServer
from fedpac_me.federation.prototypes import CONTRAST_REGIONS
from fedpac_me.federation.server_round import RoundServer, server_arguments

from .contributions import ROUND, as_bytes, honest, model

Make = Callable[..., RoundServer]
OPTIONS = {"experts": 2, "dimension": 2, "batch": 2, "minimum_count": 1.0, "decay": 0.5}


def sums(x: float = 1.0, count: int = 4) -> dict[str, Any]:
    return {region: {"sum": [[x, 0.0], [0.0, x]], "count": [count, count]} for region in CONTRAST_REGIONS}


def test_sums_of_accepted_updates_go_out_with_the_next_model(server: Make) -> None:
    made = server(prototypes=OPTIONS)
    for site in ("a", "b"):
        assert made.accept(honest(site, prototypes=sums())).ok
    assert made.accept(honest("without")).ok
    first = made.close()
    assert set(first.meta) == {"prototypes"} and made.prototypes.drift is None
    made.begin(ROUND + 1, model())
    assert made.close().meta == first.meta


@pytest.mark.parametrize("wrong", [3, {"brain": 1}, sums(count=1000)], ids=["number", "one region", "too many"])
def test_wrong_sums_refuse_the_whole_update(server: Make, wrong: Any) -> None:
    made, alone = server(prototypes=OPTIONS), server(prototypes=OPTIONS)
    verdict = made.accept(honest("b", 2, prototypes=wrong))
    assert not verdict.ok and ("'prototypes' must be" in verdict.reason or "count of 'brain'" in verdict.reason)
    for each in (made, alone):
        assert each.accept(honest("a", prototypes=sums())).ok
    result, expected = made.close(), alone.close()
    assert as_bytes(result.diff) == as_bytes(expected.diff) and result.meta == expected.meta


def test_a_refused_update_brings_no_prototypes(server: Make) -> None:
    bad = honest("b", 2, prototypes=sums())
    bad.diff["trunk.bias"][0] = np.nan
    made = server(prototypes=OPTIONS)
    made.accept(bad)
    assert made.close().meta == {}


def test_a_round_without_quorum_leaves_them_as_they_were(server: Make) -> None:
    made = server(prototypes=OPTIONS, quorum=2)
    made.accept(honest("a", prototypes=sums()))
    assert (made.close().outcome, made.prototypes.close(False)) == ("no_quorum", {})


def test_a_config_without_their_loss_has_none() -> None:
    base = {"method": "m", "title": "t"}
    assert server_arguments(parse_config(base))["prototypes"] is None
    asked = server_arguments(parse_config({**base, "contrast": {"prototype_weight": 0.1, "decay": 0.25}}))
    assert asked["prototypes"]["decay"] == 0.25
    assert PrototypeServer(**asked["prototypes"]).drift is None
