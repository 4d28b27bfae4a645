# SPDX-License-Identifier: Apache-2.0
"""What FLARE's own aggregator does with the same contributions: asked, not remembered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nvflare.apis.dxo import DXO, DataKind, MetaKey
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import ReservedKey
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.shareable import Shareable
from nvflare.app_common.aggregators.intime_accumulate_model_aggregator import InTimeAccumulateWeightedAggregator
from nvflare.app_common.app_constant import AppConstants

from federation.contributions import ROUND, honest
from fedpac_me.federation.update import Contribution

HONEST = (honest("site-1", 1), honest("site-2", 2))
MOVED = 10.0
"""A model that goes this many times as far as with the honest sites alone has been taken over."""


def outcome(bad: Contribution) -> str:
    """In a few words: two honest sites, and between them what another one sent."""
    expected = _merged(HONEST)[1]
    said, merged = _merged((HONEST[0], bad, HONEST[1]))
    if isinstance(merged, Exception):
        return f"{said}; then the aggregation raises {type(merged).__name__}, which ends the job"
    return f"{said}{_what_became(merged, expected)}"


def _merged(sent: Sequence[Contribution]) -> tuple[str, dict | Exception]:
    """What became of the second, and the merged difference."""
    fl_ctx = _context()
    aggregator = InTimeAccumulateWeightedAggregator(expected_data_kind=DataKind.WEIGHT_DIFF)
    aggregator.handle_event(EventType.START_RUN, fl_ctx)
    answers = [_answer(aggregator, contribution, fl_ctx) for contribution in sent]
    try:
        return answers[1], aggregator.aggregate(fl_ctx)["DXO"]["data"]
    except Exception as error:
        return answers[1], error


def _answer(aggregator: InTimeAccumulateWeightedAggregator, contribution: Contribution, fl_ctx: FLContext) -> str:
    try:
        return "accepted" if aggregator.accept(shareable_of(contribution), fl_ctx) else "rejected"
    except Exception as error:
        return f"raises {type(error).__name__}, which ends the round's task"


def _what_became(merged: dict, expected: dict) -> str:
    if merged.keys() != expected.keys():
        return ", the model's tensors are other ones"
    values = {name: np.asarray(value) for name, value in merged.items()}
    if any(not np.issubdtype(value.dtype, np.floating) for value in values.values()):
        return ", the model is no longer of real numbers"
    if not all(np.isfinite(value).all() for value in values.values()):
        return ", the model holds NaN or infinity"
    if any(value.shape != expected[name].shape for name, value in values.items()):
        return ", tensors have another shape"
    far = max(np.abs(value).max() / np.abs(expected[name]).max() for name, value in values.items())
    if far > MOVED:
        return f", the model moves {far:.3g} times as far"
    same = all(np.array_equal(value, expected[name]) for name, value in values.items())
    return ", leaves no trace" if same else ", enters the model"


def shareable_of(contribution: Contribution) -> Shareable:
    """As FLARE's clients send it, with the site's cases where FLARE looks for its weight."""
    meta = dict(contribution.meta)
    if "cases" in meta:
        meta[MetaKey.NUM_STEPS_CURRENT_ROUND] = meta["cases"]
    shareable = DXO(contribution.data_kind, data=contribution.diff, meta=meta).to_shareable()
    shareable.set_peer_props({ReservedKey.IDENTITY_NAME: contribution.site})
    shareable.add_cookie(AppConstants.CONTRIBUTION_ROUND, contribution.round)
    return shareable


def _context() -> FLContext:
    fl_ctx = FLContextManager(identity_name="server", job_id="stock").new_context()
    fl_ctx.set_prop(AppConstants.CURRENT_ROUND, ROUND, private=True, sticky=True)
    return fl_ctx
