# SPDX-License-Identifier: Apache-2.0
"""Server momentum, with the answers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fedpac_me.errors import InputError
from fedpac_me.federation.momentum import ServerMomentum


def one(value: float) -> dict[str, np.ndarray]:
    return {"w": np.array([value], np.float32)}


def test_nesterov_by_hand() -> None:
    momentum = ServerMomentum(0.5)
    # v = 1, step 1 + 0.5;  v = 0.5 + 1, step 1 + 0.75;  v = 0.75 + 0, step 0.375
    assert [momentum.apply(one(value))["w"].item() for value in (1, 1, 0)] == [1.5, 1.75, 0.375]
    assert momentum.state()["w"].tolist() == [0.75]


def test_zero_is_the_same_object() -> None:
    diff = one(1)
    assert ServerMomentum().apply(diff) is diff


def test_the_diff_is_not_changed() -> None:
    diff = one(1)
    momentum = ServerMomentum(0.9)
    momentum.apply(diff)
    momentum.apply(diff)
    assert diff["w"].tolist() == [1.0]


def test_an_absent_tensor_is_not_moved_and_keeps_its_velocity() -> None:
    momentum = ServerMomentum(0.5)
    momentum.apply({"a": np.ones(1, np.float32), "b": np.ones(1, np.float32)})
    assert set(momentum.apply({"a": np.ones(1, np.float32)})) == {"a"}
    assert momentum.state()["b"].tolist() == [1.0]


@pytest.mark.parametrize("name", ["norm.running_mean", "norm.running_var", "running_var", "conv.weight_control"])
def test_running_statistics_get_no_momentum(name: str) -> None:
    momentum = ServerMomentum(0.9)
    for _ in range(3):
        assert momentum.apply({name: np.array([-0.5], np.float32)})[name].tolist() == [-0.5]
    assert momentum.state() == {}


def test_a_0d_tensor_stays_an_array() -> None:
    step = ServerMomentum(0.5).apply({"scale": np.array(2, np.float32)})["scale"]
    assert isinstance(step, np.ndarray) and step.shape == () and step.item() == 3.0


@pytest.mark.parametrize("beta", [1, -0.1, float("nan"), "0.6", True])
def test_impossible_factors(beta: object) -> None:
    with pytest.raises(InputError, match="at least 0 and below 1"):
        ServerMomentum(beta)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.array([np.nan], np.float32), np.zeros(1), [1.0]])
def test_a_damaged_state_is_refused_whole(value: object) -> None:
    momentum = ServerMomentum(0.5)
    with pytest.raises(InputError, match="'b' is not a finite float32 array"):
        momentum.load_state({"a": np.ones(1, np.float32), "b": value})  # type: ignore[dict-item]
    assert momentum.state() == {}
