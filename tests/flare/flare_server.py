# SPDX-License-Identifier: Apache-2.0
"""The server's side of a round around the real aggregator: FLARE's contexts, shareables and generator, no processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.fl_constant import ReservedKey
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.shareable import ReservedHeaderKey, Shareable
from nvflare.app_common.abstract.model import make_model_learnable
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType
from nvflare.app_common.shareablegenerators.full_model_shareable_generator import FullModelShareableGenerator

from fedpac_me.federation.schema import signature
from fedpac_me.federation.update import PROTOCOL, Contribution
from fedpac_me.flare.aggregator import ExpertWiseAggregator


def model() -> dict[str, np.ndarray]:
    """A global model of seven numbers."""
    return {"a": np.full((2, 2), 10, np.float32), "b": np.zeros(3, np.float32)}


class Server:
    """An aggregator in round ``number`` of a run in ``folder``, on ``model()`` or other ``weights``."""

    def __init__(
        self,
        folder: Path,
        number: int = 0,
        weights: Mapping[str, np.ndarray] | None = None,
        abort_after_failed_rounds: int = 3,
        **options: Any,
    ) -> None:
        self.aggregator = ExpertWiseAggregator(options, abort_after_failed_rounds)
        self.number = number
        self.learnable = make_model_learnable(dict(weights or model()), {})
        workspace = SimpleNamespace(get_run_dir=lambda job: str(folder))
        self.engine = SimpleNamespace(
            get_workspace=lambda: workspace,
            get_component=lambda name: self.aggregator,
            fire_event=lambda *args: None,
            new_context=lambda: FLContext(),
        )
        self.tell(AppEventType.ROUND_STARTED, self.context())

    def tell(self, event: str, fl_ctx: FLContext) -> None:
        """Fire an event at the aggregator."""
        self.aggregator.handle_event(event, fl_ctx)

    def context(self, site: str = "site-1") -> FLContext:
        """What FLARE knows while it handles a message of ``site``, whose name is authenticated."""
        fl_ctx = FLContextManager(self.engine, "server", "job").new_context()
        for name, value in {
            AppConstants.GLOBAL_MODEL: self.learnable,
            AppConstants.CURRENT_ROUND: self.number,
            AppConstants.NUM_ROUNDS: 5,
        }.items():
            fl_ctx.set_prop(name, value, private=True, sticky=False)
        peer = FLContext()
        peer.set_prop(ReservedKey.IDENTITY_NAME, site, private=False, sticky=False)
        fl_ctx.set_peer_context(peer)
        return fl_ctx

    def send(self, site: str, value: float, cases: int = 1, number: int | None = None, **meta: Any) -> bool:
        """An update of ``model()`` that is ``value`` everywhere."""
        diff = {name: np.full_like(array, value) for name, array in model().items()}
        meta = {"protocol": PROTOCOL, "signature": signature(model()), "cases": cases, "steps": 1, **meta}
        shareable = DXO(DataKind.WEIGHT_DIFF, data=diff, meta=meta).to_shareable()
        shareable.add_cookie(AppConstants.CONTRIBUTION_ROUND, self.number if number is None else number)
        return self.accept(shareable, site)

    def accept(self, shareable: Shareable, site: str) -> bool:
        """Hand any shareable to the aggregator as FLARE does."""
        return self.aggregator.accept(shareable, self.context(site))

    def close(self) -> dict[str, np.ndarray]:
        """The model after the round, through FLARE's own generator."""
        fl_ctx = self.context()
        learnable = FullModelShareableGenerator().shareable_to_learnable(self.aggregator.aggregate(fl_ctx), fl_ctx)
        return learnable["weights"]


def shareable_of(sent: Contribution) -> Shareable:
    """The message as it comes out of FLARE's deserialisation, whatever is in it."""
    shareable = Shareable()
    shareable.set_header(ReservedHeaderKey.CONTENT_TYPE, "DXO")
    shareable["DXO"] = {"kind": sent.data_kind, "data": sent.diff, "meta": sent.meta}
    shareable.add_cookie(AppConstants.CONTRIBUTION_ROUND, sent.round)
    return shareable
