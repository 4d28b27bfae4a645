# SPDX-License-Identifier: Apache-2.0
"""What is learnt from a global model."""

from __future__ import annotations

import numpy as np
import pytest

from fedpac_me.errors import InputError
from fedpac_me.federation.schema import Schema, expert_of, is_statistic, signature


@pytest.mark.parametrize(
    ("name", "expert"),
    [
        ("experts.0.weight", 0),
        ("head.experts.12.conv.weight", 12),
        ("head.experts.3", 3),
        ("experts.weight", None),
        ("myexperts.0.weight", None),
        ("experts2.0.weight", None),
        ("experts.0x.weight", None),
        ("experts.-1.weight", None),
        ("experts.٣.weight", None),
        ("trunk.0.weight", None),
        ("", None),
    ],
)
def test_expert_of(name: str, expert: int | None) -> None:
    assert expert_of(name) == expert


def test_is_statistic() -> None:
    statistics = ("norm.running_mean", "a.experts.0.norm.running_var", "running_var", "conv.weight_control")
    assert all(map(is_statistic, statistics))
    weights = ("norm.weight", "running_var.weight", "my_running_var", "running", "conv_control.weight", "")
    assert not any(map(is_statistic, weights))


def test_keys_are_grouped_and_sorted() -> None:
    values = {
        name: np.zeros((2, 3), np.float32) for name in ("b", "x.experts.1.w", "x.experts.0.w", "y.experts.0.v", "a")
    }
    schema = Schema.learn(values)
    assert schema.names == ("a", "b", "x.experts.0.w", "x.experts.1.w", "y.experts.0.v")
    assert schema.shared_keys == ("a", "b")
    assert schema.expert_keys == (("x.experts.0.w", "y.experts.0.v"), ("x.experts.1.w",))
    assert schema.experts == 2


def test_signature_sees_names_shapes_and_dtypes_only() -> None:
    values = {"a": np.zeros((2, 3), np.float32), "b": np.zeros(1, np.float32)}
    known = signature(values)
    assert known == signature({"b": np.ones(1, np.float32), "a": np.full((2, 3), 7, np.float32)})
    assert Schema.learn(values).signature == known
    assert len(known) == 16 and int(known, 16) >= 0
    others = [
        values | {"a": np.zeros((3, 2), np.float32)},
        values | {"b": np.zeros(1, np.float64)},
        values | {"c": np.zeros(1, np.float32)},
        {"a": values["a"], "c": values["b"]},
    ]
    assert len({known, *map(signature, others)}) == 5


def test_signature_is_stable() -> None:
    """Sites of another release must compute the same: a change here needs a new protocol number."""
    assert signature({"a": np.zeros((2, 3), np.float32)}) == "909885d040ce3552"


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({}, "is empty"),
        (None, "is empty"),
        ({"a": np.zeros(2, np.int64)}, "'a' is int64"),
        ({"a": np.zeros(2, bool)}, "'a' is bool"),
        ({"a": np.zeros(2, np.complex64)}, "'a' is complex64"),
        ({"a": [1.0]}, "'a' is list"),
        ({1: np.zeros(2, np.float32)}, "must be strings, not int"),
        ({"experts.0.a": np.zeros(1), "experts.2.a": np.zeros(1)}, "numbered [0, 2], expected 0 to 1"),
    ],
)
def test_refused_models(weights: object, words: str) -> None:
    with pytest.raises(InputError) as refusal:
        Schema.learn(weights)  # type: ignore[arg-type]
    assert words in str(refusal.value)


def test_a_numpy_scalar_is_a_0d_array() -> None:
    assert Schema.learn({"scale": np.float32(1)}).shapes == {"scale": ()}
