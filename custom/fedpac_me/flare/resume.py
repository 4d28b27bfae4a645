# SPDX-License-Identifier: Apache-2.0
"""FLARE's server job writes down where it is after every round, and another job goes on from there.

FLARE itself cannot go on with a job whose server process has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nvflare.apis.client import Client
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.model import ModelLearnableKey
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.app_event_type import AppEventType

from fedpac_me.errors import InputError
from fedpac_me.federation.run_state import RunState, server_parts
from fedpac_me.flare.site_context import site_folder


class RunStateKeeper(FLComponent):
    """Writes a ``RunState`` after every round.

    Args:
        config: the resolved configuration as plain JSON types.
        aggregator_id: the component that holds the server's round and the ledger.
    """

    def __init__(self, config: dict, aggregator_id: str = AppConstants.DEFAULT_AGGREGATOR_ID) -> None:
        super().__init__()
        self.config = config
        self.aggregator_id = aggregator_id
        self._best: dict = {}
        self._best_score: float | None = None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Remembers the best model when it is told of, and saves when a round is done."""
        if event_type == AppEventType.GLOBAL_BEST_MODEL_AVAILABLE:
            # A copy, since FLARE puts the next model's arrays into the same dict.
            self._best = dict(fl_ctx.get_prop(AppConstants.GLOBAL_MODEL)[ModelLearnableKey.WEIGHTS])
            self._best_score = float(fl_ctx.get_prop(AppConstants.VALIDATION_RESULT))
        elif event_type == AppEventType.ROUND_DONE:
            try:
                self._state(fl_ctx).save(site_folder(fl_ctx))
            except Exception as error:
                # A full disk must not cost the run.
                self.log_error(
                    fl_ctx, f"The round is done, but its state, for a job that goes on, could not be written: {error!r}"
                )

    def resume(self, state: RunState, fl_ctx: FLContext) -> None:
        """Know the best model of the run that is resumed; keep its state until the first round is done."""
        self._best, self._best_score = state.best, state.best_score
        state.save(site_folder(fl_ctx))

    def _state(self, fl_ctx: FLContext) -> RunState:
        model = fl_ctx.get_prop(AppConstants.GLOBAL_MODEL)
        aggregator = fl_ctx.get_engine().get_component(self.aggregator_id)
        return RunState(
            job=fl_ctx.get_job_id(),
            round=fl_ctx.get_prop(AppConstants.CURRENT_ROUND),
            config=self.config,
            ledger=aggregator.ledger,
            weights=model[ModelLearnableKey.WEIGHTS],
            meta=model[ModelLearnableKey.META],
            best_score=self._best_score,
            best=self._best,
            **server_parts(aggregator.server),
        )


class ResumeController(Controller):
    """The first workflow of a job that goes on: gives every component its part of the state.

    Args:
        file: name of the state's file among the job's configuration files at the server.
        components: ids of those that have a part, each with ``resume(state, fl_ctx)``.
    """

    def __init__(self, file: str, components: Sequence[str]) -> None:
        super().__init__()
        self.file = file
        self.components = components

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Nothing was read yet."""

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Read and hand out; stop the job with a sentence when the state is not this job's."""
        engine = fl_ctx.get_engine()
        folder = Path(engine.get_workspace().get_app_config_dir(fl_ctx.get_job_id()))
        try:
            state = RunState.read(folder / self.file)
            for component in self.components:
                engine.get_component(component).resume(state, fl_ctx)
        except InputError as error:
            self.system_panic(str(error), fl_ctx)
            return
        self.log_info(fl_ctx, f"Going on after round {state.round + 1} of job {state.job}.")

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Nothing to release."""

    def process_result_of_unknown_task(
        self, client: Client, task_name: str, client_task_id: str, result: Shareable, fl_ctx: FLContext
    ) -> None:
        """It gives out no tasks."""
