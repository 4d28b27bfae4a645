# SPDX-License-Identifier: Apache-2.0
"""A function through ``torch.compile``, and as it is where that does not work."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

log = logging.getLogger(__name__)

_SPECIAL_CASES = 4
"""Versions of the code for each expert: two sizes of crop, each with and without a gradient for the image."""


class Compiled:
    """Calls ``plain``, compiled when it is first called; for good as it is, once compiling has failed."""

    def __init__(self, plain: Callable[..., Any], experts: int) -> None:
        """``experts``: how many may speak; the code is compiled anew for each."""
        from torch._dynamo.exc import TorchDynamoException  # a second or more, which others need not wait for

        self._failure = TorchDynamoException
        self._plain = plain
        self._fast: Callable[..., Any] | None = torch.compile(
            plain, dynamic=False, recompile_limit=_SPECIAL_CASES * experts
        )

    def __call__(self, *args: Any) -> Any:
        """What ``plain`` returns, to rounding. Raises what it raises."""
        if self._fast is not None:
            try:
                return self._fast(*args)
            except self._failure as error:
                self._fast = None
                log.warning(
                    "The network cannot be compiled on this machine (%s), so it trains uncompiled: the same result, "
                    "more slowly. Set learning.compile to false to do without this sentence.",
                    " ".join(str(error).split("\n")[:2]),  # which backend, and what it said; then pages of advice
                )
        return self._plain(*args)
