# SPDX-License-Identifier: Apache-2.0
"""What the server tells of a round in progress."""

from __future__ import annotations

import json
from collections.abc import Callable

from fedpac_me.federation.server_round import RoundServer

from .contributions import ROUND, abstaining, honest, model

Make = Callable[..., RoundServer]


def test_progress_is_builtins(server: Make) -> None:
    made = server()
    made.accept(honest("a", metrics={"dice_mean": 0.5}))
    made.accept(honest("b", metrics={"dice_mean": 1, "train_loss": 0.25}))
    made.accept(abstaining("c"))
    made.record_error("d", "x")
    counts = {"round": ROUND, "accepted": 2, "rejected": 1, "abstained": 1, "failed_rounds_in_a_row": 0}
    routed = {"experts_of_a": "2.5 7.5", "experts_of_b": "2.5 7.5", "dead_experts": "none"}
    routed |= {"expert_0_agreement": 1.0, "expert_1_agreement": 1.0}
    assert made.progress == counts | routed | {"mean_dice_mean": 0.75, "mean_train_loss": 0.375}
    json.dumps(made.progress)


def test_scores_of_the_accepted_sites(server: Make) -> None:
    made = server()
    for sent in (honest("b", metrics={"dice_mean": 0.25}), honest("a"), honest("c", metrics={}), abstaining("d")):
        made.accept(sent)
    assert made.accepted_scores() == [0.75, 0.25]
    assert made.accepted_scores("train_loss") == [0.5]
    made.close()
    assert made.accepted_scores() == [0.75, 0.25]
    made.begin(ROUND + 1, model())
    assert made.accepted_scores() == []
