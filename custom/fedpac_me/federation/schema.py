# SPDX-License-Identifier: Apache-2.0
"""What the round's global model looks like: names, shapes, dtypes, and which tensor belongs to which expert."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fedpac_me.errors import InputError
from fedpac_me.federation import moments

_EXPERT = re.compile(r"(?:^|\.)experts\.([0-9]{1,6})(?:\.|$)")
CONTROL = "_control"
"""Ends the name of a control variate, which begins with its parameter's: see ``model.controls``."""
_STATISTICS = (moments.MEAN, moments.VARIANCE)
_SIGNATURE_DIGITS = 16


def expert_of(name: str) -> int | None:
    """The expert that the tensor ``name`` belongs to (``…experts.<e>.…``), or ``None`` for a shared tensor."""
    found = _EXPERT.search(name)
    return int(found.group(1)) if found else None


@lru_cache(maxsize=2**14)  # every chunk of every update asks, and a network has hundreds of names
def is_statistic(name: str) -> bool:
    """Whether ``name`` is a running statistic of a normalisation layer (``….running_mean``, ``….running_var``) or of
    gradients (``…_control``).

    Statistics are averages of what was seen: on the scale of activations or gradients, and not what descent moves.
    """
    last = name.rpartition(".")[2]
    return last in _STATISTICS or last.endswith(CONTROL)


def signature(weights: Mapping[str, np.ndarray]) -> str:
    """A short hash of the sorted names, shapes and dtypes of a *global model* (float32 on the wire).

    Two sides with the same signature can exchange updates. Values do not enter, nor does the order of the keys.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = np.asarray(weights[name])
        digest.update(repr((name, array.shape, array.dtype.name)).encode())
    return digest.hexdigest()[:_SIGNATURE_DIGITS]


@dataclass(frozen=True)
class Schema:
    """The layout of a global model; ``learn`` it, do not build it by hand."""

    signature: str
    shapes: Mapping[str, tuple[int, ...]]
    shared_keys: tuple[str, ...]
    expert_keys: tuple[tuple[str, ...], ...]

    @classmethod
    def learn(cls, weights: Mapping[str, np.ndarray]) -> Schema:
        """Read the layout of ``weights``.

        Raises:
            InputError: the model is no mapping, is empty, holds something that is not a floating-point array, or
                its experts are not numbered 0, 1, 2, … without a gap.
        """
        arrays = _floating_arrays(weights)
        return cls(
            signature=signature(arrays),
            shapes={name: array.shape for name, array in arrays.items()},
            shared_keys=tuple(name for name in arrays if expert_of(name) is None),
            expert_keys=_grouped(arrays),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """All tensors, sorted: the order in which everything here walks a model."""
        return tuple(self.shapes)

    @property
    def experts(self) -> int:
        """How many experts the model has."""
        return len(self.expert_keys)


def _floating_arrays(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The model's arrays, sorted by name; numpy scalars, which 0-d arithmetic leaves behind, count as 0-d arrays."""
    if not isinstance(weights, Mapping) or not weights:
        raise InputError("The global model is empty: expected a mapping of tensor names to floating-point arrays.")
    wrong = [name for name in weights if not isinstance(name, str)]
    if wrong:
        raise InputError(f"The global model's tensor names must be strings, not {type(wrong[0]).__name__}.")
    arrays: dict[str, np.ndarray] = {}
    for name in sorted(weights):
        value = weights[name]
        is_floating = isinstance(value, np.ndarray | np.generic) and np.issubdtype(value.dtype, np.floating)
        if not is_floating:
            got = value.dtype.name if isinstance(value, np.ndarray | np.generic) else type(value).__name__
            raise InputError(
                f"The global model's '{name}' is {got}, expected a floating-point array: integer buffers such as "
                "step counters cannot be averaged, keep them out of the model that travels."
            )
        arrays[name] = np.asarray(value)
    return arrays


def _grouped(names: Mapping[str, np.ndarray]) -> tuple[tuple[str, ...], ...]:
    groups: dict[int, list[str]] = {}
    for name in names:
        expert = expert_of(name)
        if expert is not None:
            groups.setdefault(expert, []).append(name)
    if sorted(groups) != list(range(len(groups))):
        raise InputError(f"The global model's experts are numbered {sorted(groups)}, expected 0 to {len(groups) - 1}.")
    return tuple(tuple(groups[expert]) for expert in range(len(groups)))
