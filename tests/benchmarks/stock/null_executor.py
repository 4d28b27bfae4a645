# SPDX-License-Identifier: Apache-2.0
"""The least a FLARE site can do: answer the model with a difference of zeros, at once."""

from __future__ import annotations

import numpy as np
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.executor import Executor
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal


class NullExecutor(Executor):
    """Same payload as a real update, no work."""

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """The zero update."""
        diff = {name: np.zeros_like(value) for name, value in from_shareable(shareable).data.items()}
        return DXO(DataKind.WEIGHT_DIFF, data=diff, meta={MetaKey.NUM_STEPS_CURRENT_ROUND: 1}).to_shareable()
