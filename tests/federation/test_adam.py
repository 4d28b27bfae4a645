# SPDX-License-Identifier: Apache-2.0
"""FedAdam, with the answers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fedpac_me.errors import InputError
from fedpac_me.federation.adam import ServerAdam
from fedpac_me.federation.config import FederationConfig, ServerAdamConfig
from fedpac_me.federation.momentum import ServerMomentum


def usual(**options) -> ServerAdam:
    """With the configuration's defaults."""
    return ServerAdam(**ServerAdamConfig().model_dump() | options)


def one(value: float) -> dict[str, np.ndarray]:
    return {"w": np.array([value], np.float32)}


def test_two_rounds_by_hand() -> None:
    adam = ServerAdam(learning_rate=0.5, beta1=0.5, beta2=0.75, tau=1.0)
    # m = 0.5·0 + 0.5·2 = 1, v = 0.75·1 + 0.25·4 = 1.75
    assert adam.apply(one(2))["w"].item() == pytest.approx(0.5 * 1 / (1.75**0.5 + 1))
    # m = 0.5·1 + 0.5·(-1) = 0, v = 0.75·1.75 + 0.25·1 = 1.5625
    assert adam.apply(one(-1))["w"].item() == 0.0
    # m = 0.5·0 + 0.5·4 = 2, v = 0.75·1.5625 + 0.25·16 = 5.171875
    assert adam.apply(one(4))["w"].item() == pytest.approx(0.5 * 2 / (5.171875**0.5 + 1))


def test_the_second_moment_begins_at_the_square_of_tau() -> None:
    adam = ServerAdam(learning_rate=0.5, beta1=0.5, beta2=0.75, tau=0.5)
    # m = 0.5·2 = 1, v = 0.75·0.25 + 0.25·4 = 1.1875
    assert adam.apply(one(2))["w"].item() == pytest.approx(0.5 * 1 / (1.1875**0.5 + 0.5))


def test_without_memory_and_with_a_large_tau_it_is_scaled_federated_averaging() -> None:
    """η d / (|d| + τ) → (η/τ) d; with η = τ the merged difference itself."""
    diff = {"w": np.random.default_rng(0).normal(size=100).astype(np.float32)}
    adam = ServerAdam(learning_rate=1e6, beta1=0, beta2=0, tau=1e6)
    for _ in range(3):
        assert np.allclose(adam.apply(diff)["w"], diff["w"], rtol=1e-5)


def test_without_memory_and_with_a_small_tau_it_is_the_sign() -> None:
    step = ServerAdam(learning_rate=0.25, beta1=0, beta2=0, tau=1e-6).apply({"w": np.float32([3, -0.5, 0])})["w"]
    assert np.allclose(step, [0.25, -0.25, 0], atol=1e-5)


def test_the_diff_is_not_changed_and_an_absent_tensor_is_not_moved() -> None:
    adam, diff = usual(), {"a": np.ones(1, np.float32), "b": np.ones(1, np.float32)}
    adam.apply(diff)
    kept = adam.state()["second/b"].tolist()
    assert set(adam.apply({"a": diff["a"]})) == {"a"}
    assert diff["a"].tolist() == [1.0] and adam.state()["second/b"].tolist() == kept


@pytest.mark.parametrize("name", ["norm.running_mean", "norm.running_var", "conv.weight_control"])
def test_statistics_are_averaged(name: str) -> None:
    adam = usual()
    assert adam.apply({name: np.float32([-0.5])})[name].tolist() == [-0.5]
    assert adam.state() == {}


def test_experts_are_averaged_where_they_are_left_out() -> None:
    diff = {"a.experts.0.weight": np.ones(1, np.float32)}
    assert usual(experts=False).apply(diff)["a.experts.0.weight"].tolist() == [1.0]
    assert usual(experts=True).apply(diff)["a.experts.0.weight"].tolist() != [1.0]


def test_a_0d_tensor_stays_an_array() -> None:
    step = usual().apply({"scale": np.array(2, np.float32)})["scale"]
    assert isinstance(step, np.ndarray) and step.shape == () and step.dtype == np.float32


@pytest.mark.parametrize(
    "arguments",
    [{"beta1": 1}, {"beta2": -0.1}, {"tau": 0}, {"learning_rate": float("nan")}, {"tau": True}, {"tau": float("inf")}],
)
def test_impossible_arguments(arguments) -> None:
    with pytest.raises(InputError, match="FedAdam needs betas"):
        usual(**arguments)


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"first/w": np.zeros(1)}, "not a finite float32 array"),
        ({"first/w": np.float32([0])}, "lacks one of FedAdam's two moments"),
        ({"first/w": np.float32([0]), "second/w": np.float32([-1])}, "FedAdam has not"),
    ],
)
def test_a_damaged_state_is_refused_whole(state, sentence) -> None:
    adam = usual()
    with pytest.raises(InputError, match=sentence):
        adam.load_state(state)
    assert adam.state() == {}


def test_a_state_of_zeros_and_of_a_name_with_a_slash_is_loaded() -> None:
    adam, state = usual(), {"first/a/b": np.float32([0]), "second/a/b": np.float32([0])}
    adam.load_state(state)
    assert adam.state() == state


def test_a_momentums_state_is_not_taken_for_its_own() -> None:
    momentum = ServerMomentum(0.5)
    momentum.apply(one(1))
    with pytest.raises(InputError, match="FedAdam has not"):
        usual().load_state(momentum.state())


@pytest.mark.parametrize(
    ("beside", "sentence"),
    [
        ({"server_momentum": 0.5}, "a momentum of its own, beta1: set server_momentum to 0"),
        ({"share": "nothing", "quorum": 0}, "the server has nothing to move: leave server_adam out"),
    ],
)
def test_a_setting_that_excludes_it_is_named(beside, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        FederationConfig(server_adam={}, **beside)
