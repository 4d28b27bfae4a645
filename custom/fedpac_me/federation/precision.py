# SPDX-License-Identifier: Apache-2.0
"""The number format in which tensors travel: float32 as they are, or float16 in half the bytes.

A float16 has 11 significant bits and reaches 65504. Some tensors stay float32 because they need more: running
statistics and control variates, whose range is that of activations and gradients, a variance's that of their squares;
the router's, whose smallest change can send a scan to another expert; and any tensor with a value that float16 cannot
hold. Nothing is clipped: what is too large for the server is refused there, as in float32.

What rounding takes from a site's update is not lost. The site keeps it and adds it to its next one, so that all that it
has ever sent is all that it has learned but the rounding of its last update (error feedback: Seide et al. 2014;
Karimireddy et al. 2019). The model on its way out needs no such memory, since the server keeps it in float32.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fedpac_me.federation.schema import is_statistic

FLOAT32, FLOAT16 = "float32", "float16"
FORMATS = (FLOAT32, FLOAT16)

_ROUTER = "router."


def as_sent(tensors: Mapping[str, np.ndarray], format: str) -> dict[str, np.ndarray]:
    """The float32 ``tensors`` in one of ``FORMATS``; those that stay float32 are the same arrays."""
    if format == FLOAT32:
        return dict(tensors)
    return {name: _halved(name, value) for name, value in tensors.items()}


def widened(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What arrived, as float32; what is float32 already is the same array."""
    return {name: value.astype(np.float32, copy=False) for name, value in tensors.items()}


def sent_and_kept(
    diff: Mapping[str, np.ndarray], kept: Mapping[str, np.ndarray], format: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A site's update as it is sent, and what it keeps for the next one.

    Args:
        diff: the update, float32.
        kept: what the rounding of earlier updates took, by tensor; perhaps nothing.
        format: one of ``FORMATS``; nothing is kept with ``FLOAT32``, nor anything added.
    """
    if format == FLOAT32:
        return dict(diff), {}
    # asarray: the sum of two 0-d arrays would be a scalar, which the wire contract refuses.
    whole = {name: np.asarray(value + kept[name]) if name in kept else value for name, value in diff.items()}
    sent = as_sent(whole, format)
    taken = {n: np.asarray(whole[n] - value.astype(np.float32)) for n, value in sent.items() if value is not whole[n]}
    # An expert that this round did not use is not sent: what it is owed waits.
    waiting = {name: value for name, value in kept.items() if name not in diff}
    return sent, waiting | taken


def _halved(name: str, value: np.ndarray) -> np.ndarray:
    if is_statistic(name) or name.startswith(_ROUTER):
        return value
    with np.errstate(over="ignore", under="ignore"):
        half = value.astype(np.float16)
    return half if np.isfinite(half).all() else value
