# SPDX-License-Identifier: Apache-2.0
"""Tensor by tensor on a few threads: numpy lets go of the interpreter lock inside its loops.

Tensors are independent of each other, so the number of threads cannot change a byte of the result. The work is bound by
memory bandwidth, which is why few threads are enough.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

MAX_THREADS = 4

# Below this many elements starting threads costs more than it saves.
_WORTHWHILE = 2**20

Answer = TypeVar("Answer")


def over_tensors(work: Callable[[str], Answer], names: Iterable[str], arrays: Mapping[str, np.ndarray]) -> list[Answer]:
    """``work(name)`` for every name, answers in the order of ``names``; ``arrays`` says how much there is to do.

    Raises what ``work`` raises, for the first such name in order.
    """
    listed = list(names)
    threads = min(MAX_THREADS, os.cpu_count() or 1)
    if threads == 1 or sum(arrays[name].size for name in listed) < _WORTHWHILE:
        return [work(name) for name in listed]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, listed))
