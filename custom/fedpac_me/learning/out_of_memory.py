# SPDX-License-Identifier: Apache-2.0
"""Memory that runs out in training: once again with smaller patches, then a sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from fedpac_me.learning.trainer import TrainingFailed

Result = TypeVar("Result")


def with_smaller_patches(attempt: Callable[[], Result], shrink: Callable[[], bool]) -> Result:
    """What ``attempt`` returns, at once or, where memory ran out, after ``shrink``.

    ``shrink`` puts everything back to where the attempt began, with smaller patches; it returns whether there are any.

    Raises:
        TrainingFailed: memory ran out again, or there are no smaller patches.
    """
    try:
        return attempt()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Outside the except block: the error's traceback held the tensors of the attempt.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        if shrink():
            return attempt()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    raise TrainingFailed(
        "memory ran out, with smaller patches too where there are any; nothing of this round is sent. Lower data.crop "
        "or learning.batch, or free memory at the site."
    )


def is_out_of_memory(error: Exception) -> bool:
    """Whether torch, on a GPU or the CPU, or Python says that there is no more memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = str(error).lower()
    return "out of memory" in words or "can't allocate memory" in words or "cannot allocate memory" in words
