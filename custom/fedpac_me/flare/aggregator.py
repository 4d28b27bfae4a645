# SPDX-License-Identifier: Apache-2.0
"""FLARE's aggregation calls in, ``federation.server_round.RoundServer`` calls, FLARE shareables out.

An exception in ``accept`` would end the task and drop the other sites' results, one in ``aggregate`` the
whole job: neither raises.
"""

from __future__ import annotations

import logging
import statistics

from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import FLContextKey, ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.aggregator import Aggregator
from nvflare.app_common.abstract.model import ModelLearnableKey
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType
from nvflare.widgets.info_collector import InfoCollector

from fedpac_me.federation.ledger import Ledger, RoundRecord
from fedpac_me.federation.progress import latest_figures, round_figures, round_line
from fedpac_me.federation.run_state import RunState
from fedpac_me.federation.server_round import RoundServer
from fedpac_me.federation.update import Contribution
from fedpac_me.flare.error_reply import reason_of
from fedpac_me.flare.figures import send_figures
from fedpac_me.flare.site_context import site_folder

progress_logger = logging.getLogger("fedpac_me.progress")


class ExpertWiseAggregator(Aggregator):
    """Checks, merges and books the sites' updates. Works without any argument.

    Args:
        round_server: arguments of ``federation.server_round.RoundServer``, builtins only.
        abort_after_failed_rounds: rounds in a row without quorum after which the job stops.
    """

    def __init__(self, round_server: dict | None = None, abort_after_failed_rounds: int = 3) -> None:
        super().__init__()
        self.round_server = round_server
        self.abort_after_failed_rounds = abort_after_failed_rounds
        self._server = RoundServer(**(round_server or {}))
        self._ledger = Ledger()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Opens a round, books error replies (which FLARE never hands to ``accept``), fills ``show_stats``."""
        super().handle_event(event_type, fl_ctx)
        if event_type == AppEventType.ROUND_STARTED:
            self._begin(fl_ctx)
        elif event_type == EventType.BEFORE_PROCESS_SUBMISSION:
            self._book_error_reply(fl_ctx)
        elif event_type == InfoCollector.EVENT_TYPE_GET_STATS:
            collector = fl_ctx.get_prop(InfoCollector.CTX_KEY_STATS_COLLECTOR)
            if collector is not None:
                collector.add_info("FedPAC-ME", self._server.progress | latest_figures(self._ledger.rounds))

    def accept(self, shareable: Shareable, fl_ctx: FLContext) -> bool:
        """Check one site's update fully, then add it. False when it is refused or the site abstains."""
        site = _peer(fl_ctx)
        try:
            self._begin(fl_ctx)
            dxo = from_shareable(shareable)
            contribution = Contribution(
                site=site,
                data_kind=DataKind(dxo.data_kind).value,
                round=shareable.get_cookie(AppConstants.CONTRIBUTION_ROUND),
                diff=dxo.data,
                meta=dxo.get_meta_props() or {},
            )
            verdict = self._server.accept(contribution)
        except Exception as error:
            self._server.record_error(site, f"the update could not be read ({type(error).__name__})")
            self.log_warning(fl_ctx, f"Update of {site} refused: it could not be read ({type(error).__name__})")
            return False
        if not verdict.ok:
            self.log_warning(fl_ctx, f"Update of {site} refused: {verdict.reason}")
        return verdict.ok and not verdict.abstained

    def aggregate(self, fl_ctx: FLContext) -> Shareable:
        """The merged difference; an empty one, which leaves the model as it is, when there is no quorum."""
        result = self._server.close()
        try:
            self._publish(fl_ctx, result.record)
        except Exception as error:
            # A full disk must not cost the round: the merged difference is still right.
            self.log_error(
                fl_ctx, f"The round was merged, but its ledger or its figures could not be written: {error!r}."
            )
        meta = {"round": result.record.round, "outcome": result.outcome, **result.meta}
        return DXO(DataKind.WEIGHT_DIFF, data=result.diff, meta=meta).to_shareable()

    def reset(self, fl_ctx: FLContext) -> None:
        """Nothing to do: the next round's ``begin`` starts afresh."""

    @property
    def server(self) -> RoundServer:
        """What decides; between two rounds its state can be saved or put in."""
        return self._server

    @property
    def ledger(self) -> Ledger:
        """Of all rounds so far."""
        return self._ledger

    def resume(self, state: RunState, fl_ctx: FLContext) -> None:
        """Go on after ``state``. Raises ``InputError`` when it does not fit."""
        state.load_into(self._server)
        self._ledger = state.ledger
        self._save_ledger(fl_ctx)

    def accepted_scores(self) -> list[float]:
        """Validation Dice of the received model at the sites whose update was accepted this round."""
        return self._server.accepted_scores()

    def _begin(self, fl_ctx: FLContext) -> None:
        model = fl_ctx.get_prop(AppConstants.GLOBAL_MODEL) or {}
        fault = self._server.begin(
            fl_ctx.get_prop(AppConstants.CURRENT_ROUND), model.get(ModelLearnableKey.WEIGHTS, {})
        )
        if fault:
            self.log_error(fl_ctx, f"The round takes no updates: {fault}")

    def _book_error_reply(self, fl_ctx: FLContext) -> None:
        result = fl_ctx.get_prop(FLContextKey.TASK_RESULT)
        training = fl_ctx.get_prop(FLContextKey.TASK_NAME) == AppConstants.TASK_TRAIN
        if training and isinstance(result, Shareable) and result.get_return_code(ReturnCode.OK) != ReturnCode.OK:
            site, reason = _peer(fl_ctx), reason_of(result)
            self._server.record_error(site, reason)
            self.log_warning(fl_ctx, f"Update of {site} refused: {reason}")

    def _publish(self, fl_ctx: FLContext, record: RoundRecord) -> None:
        """Ledger to disk, one line to the console, figures to whoever receives them; stop when rounds keep failing."""
        self._ledger.signature = self._server.signature
        self._ledger.add(record)
        self._save_ledger(fl_ctx)
        to_do = fl_ctx.get_prop(AppConstants.NUM_ROUNDS)
        rounds = fl_ctx.get_prop(AppConstants.START_ROUND, 0) + to_do if to_do else record.round + 1
        mean_seconds = statistics.mean(line.seconds for line in self._ledger.rounds)
        progress_logger.info(round_line(record, rounds, mean_seconds))
        drift = self._server.prototypes.drift if self._server.prototypes is not None else None
        figures = round_figures(record) | ({} if drift is None else {"prototype_drift": drift})
        send_figures(self, fl_ctx, figures, record.round)
        for line in record.accepted:
            for flag in line.flags:
                self.log_info(fl_ctx, f"Update of {line.site} in round {record.round}: {flag}")
        if self._server.failed_rounds_in_a_row >= self.abort_after_failed_rounds:
            self.system_panic(
                f"{self._server.failed_rounds_in_a_row} rounds in a row had fewer than {self._server.quorum} usable "
                "updates. The ledger says why each was refused.",
                fl_ctx,
            )

    def _save_ledger(self, fl_ctx: FLContext) -> None:
        self._ledger.save(site_folder(fl_ctx) / "ledger.json")


def _peer(fl_ctx: FLContext) -> str:
    """The authenticated name of the site; a name inside the payload would be whatever the sender wrote."""
    return str(fl_ctx.get_peer_context().get_prop(ReservedKey.IDENTITY_NAME, "unknown"))
