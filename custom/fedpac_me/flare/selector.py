# SPDX-License-Identifier: Apache-2.0
"""Which round's model is the best: FLARE's selector, looking only at updates that were accepted."""

from __future__ import annotations

import math

from nvflare.apis.fl_context import FLContext
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType
from nvflare.app_common.widgets.intime_model_selector import IntimeModelSelector

from fedpac_me.federation.run_state import RunState
from fedpac_me.flare.aggregator import ExpertWiseAggregator


class BestModelSelector(IntimeModelSelector):
    """Mean validation Dice of the received model over the sites whose update was accepted.

    FLARE's own selector also counts updates that the aggregator rejects, and adds scores in order of arrival.
    Sites that only evaluate have no say: nothing is selected on an unseen hospital.

    Args:
        aggregator_id: the component that keeps the verdicts.
    """

    def __init__(self, aggregator_id: str = AppConstants.DEFAULT_AGGREGATOR_ID) -> None:
        super().__init__(key_metric="dice_mean")
        self.aggregator_id = aggregator_id

    def resume(self, state: RunState, fl_ctx: FLContext) -> None:
        """Only a better model than the best of the run that is resumed is the best."""
        if state.best_score is not None:
            self.best_val_metric = self.best_raw_val_metric = state.best_score

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Ignores single contributions; before the aggregation asks the aggregator for the accepted scores."""
        if event_type == AppEventType.BEFORE_CONTRIBUTION_ACCEPT:
            return
        if event_type == AppEventType.BEFORE_AGGREGATION:
            aggregator = fl_ctx.get_engine().get_component(self.aggregator_id)
            scores = aggregator.accepted_scores() if isinstance(aggregator, ExpertWiseAggregator) else []
            self.validation_metric_weighted_sum = self.raw_validation_metric_weighted_sum = math.fsum(scores)
            self.validation_metric_sum_of_weights = len(scores)
        super().handle_event(event_type, fl_ctx)
