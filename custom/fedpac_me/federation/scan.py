# SPDX-License-Identifier: Apache-2.0
"""One pass over the values of an update: are they all finite and small, and how long is the whole vector?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from fedpac_me.federation.fixed_point import chunks
from fedpac_me.federation.rejection import Rejected, show


def measured_norm(diff: Mapping[str, np.ndarray], names: Iterable[str], max_abs: float) -> float:
    """L2 norm of the tensors ``names`` of ``diff``: float32 within a chunk, float64 over the chunks, 6 digits.

    (More digits would be noise, and would depend on how BLAS splits a dot product.) Works through chunks that stay in
    the cache: no temporary of the size of a tensor.

    Raises:
        Rejected: a value is NaN, infinite or larger than ``max_abs``; the sentence names the tensor.
    """
    squares = (_checked_square(name, diff[name], max_abs) for name in names)
    return float(f"{math.sqrt(math.fsum(squares)):.6g}")


def _checked_square(name: str, values: np.ndarray, max_abs: float) -> float:
    """Σ v² of a tensor.

    No value exceeds the root of the sum of squares, and NaN and Inf carry over into it: as long as a chunk's sum is
    well below the bound nothing else needs to be looked at. Half of it leaves room for rounding.
    """
    flat = values.reshape(-1)
    squares: list[float] = []
    # Overflow and signalling NaN would warn; they are found and refused below.
    with np.errstate(all="ignore"):
        for part in chunks(flat.size):
            chunk = flat[part].astype(np.float32, copy=False)
            square = float(np.dot(chunk, chunk))
            if not square <= 0.5 * max_abs * max_abs:
                _check_each(name, chunk, max_abs)
            squares.append(square)
    return math.fsum(squares)


def _check_each(name: str, chunk: np.ndarray, max_abs: float) -> None:
    # np.min and np.max pass NaN on, so no comparison can be fooled by one.
    low, high = float(np.min(chunk)), float(np.max(chunk))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise Rejected(f"{show(name)} must be finite, got NaN or infinity (non_finite).")
    largest = max(high, -low)
    if largest > max_abs:
        raise Rejected(f"{show(name)} must stay within ±{max_abs:g}, got a value of size {largest:.6g}.")
