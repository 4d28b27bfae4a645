# SPDX-License-Identifier: Apache-2.0
"""A site without data that trains nothing and still sends what the wire contract asks for."""

from __future__ import annotations

import time
import zlib

import numpy as np
from contributions import facts_of
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.executor import Executor
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.app_constant import AppConstants

from fedpac_me.data.style import STYLE
from fedpac_me.federation import keys

CASES = 12
STEP = np.float32(-1e-3)


class IdleExecutor(Executor):
    """Stands in for ``FedPacMeExecutor``, whose arguments it takes. Imports no torch, so that fifty fit on a machine.

    Args:
        config: the resolved configuration as plain JSON types.
        code: not looked at.
    """

    def __init__(self, config: dict, code: dict | None = None) -> None:
        super().__init__()
        self.config = config
        self.code = code

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Training shrinks the model by a thousandth; evaluation has no case; all that is left is the style."""
        if task_name == AppConstants.TASK_TRAIN:
            return self._update(shareable).to_shareable()
        if task_name == AppConstants.TASK_VALIDATION:
            return DXO(DataKind.METRICS, data={"role": "train", "cases": []}).to_shareable()
        return self._style(shareable, fl_ctx.get_identity_name()).to_shareable()

    def _update(self, shareable: Shareable) -> DXO:
        start = time.monotonic()
        weights = from_shareable(shareable).data
        # asarray: a product of 0-d arrays is a scalar, which the wire contract refuses.
        diff = {name: np.asarray(value * STEP) for name, value in weights.items()}
        experts = self.config["model"]["experts"]
        mass = [CASES / experts] * experts if experts > 1 else []
        meta = facts_of(weights, CASES, expert_mass=mass)
        return DXO(DataKind.WEIGHT_DIFF, data=diff, meta=meta | {"seconds": time.monotonic() - start})

    def _style(self, shareable: Shareable, site: str) -> DXO:
        """Made-up styles, the same whenever the site is asked."""
        styles = np.random.default_rng(zlib.crc32(site.encode())).normal(size=(CASES, len(STYLE)))
        clusters, seed = self.config["router"]["local_clusters"], self.config["seed"]
        question = from_shareable(shareable).data
        answer = keys.answer(question, styles, np.ones(styles.shape, bool), clusters, seed)
        return DXO(DataKind.STATISTICS, data=answer)
