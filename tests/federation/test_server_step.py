# SPDX-License-Identifier: Apache-2.0
"""What both ways of moving the server's model have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from fedpac_me.federation.adam import ServerAdam
from fedpac_me.federation.momentum import ServerMomentum
from fedpac_me.federation.server_step import ServerStep

ADAM = partial(ServerAdam, learning_rate=0.01, beta1=0.9, beta2=0.99, tau=1e-3)


@pytest.mark.parametrize("make", [partial(ServerMomentum, 0.6), ADAM], ids=["momentum", "adam"])
def test_resuming_continues_to_the_byte(make: Callable[[], ServerStep]) -> None:
    steps = [{"w": np.random.default_rng(seed).normal(size=4).astype(np.float32)} for seed in range(4)]
    whole, first, second = make(), make(), make()
    expected = [whole.apply(step)["w"].tobytes() for step in steps]
    for step in steps[:2]:
        first.apply(step)
    second.load_state(first.state())
    first.apply(steps[0])
    assert [second.apply(step)["w"].tobytes() for step in steps[2:]] == expected[2:]
