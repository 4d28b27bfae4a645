# SPDX-License-Identifier: Apache-2.0
"""Getting the next batch while the current one is trained on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from fedpac_me.data.crops import Batch

Item = TypeVar("Item")


def prefetched(items: Iterator[Item]) -> Iterator[Item]:
    """``items``, one ahead: a thread gets each while its predecessor is in use. What it raises is raised here.

    Close it when leaving early (``contextlib.closing``), or the thread may still be at work. MONAI's ``ThreadBuffer``
    ends without a word where its source fails.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="next_batch") as worker:
        ahead = worker.submit(next, items, None)
        while (item := ahead.result()) is not None:
            ahead = worker.submit(next, items, None)
            yield item


def ready_for(device: torch.device, batches: Iterator[Batch]) -> Iterator[Batch]:
    """``batches``, for a GPU in page-locked memory. That is slow to get, so let ``prefetched`` take them."""
    return map(Batch.pinned, batches) if device.type == "cuda" else batches
