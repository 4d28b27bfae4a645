# SPDX-License-Identifier: Apache-2.0
"""The first workflow of a job with experts: ask the sites until ``federation.keys.KeySearch`` knows the keys."""

from __future__ import annotations

from nvflare.apis.client import Client
from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from fedpac_me.config import parse_config
from fedpac_me.data.style import STYLE
from fedpac_me.errors import InputError
from fedpac_me.federation.keys import KeySearch
from fedpac_me.federation.rejection import Rejected
from fedpac_me.flare.error_reply import reason_of

TASK_STYLE = "style"
EVERY_LIVING_SITE = 1000


class KeySearchController(Controller):
    """Finds the router's keys and puts them into the first model.

    Args:
        config: the resolved configuration as plain JSON types.
        persistor_id: the component that builds the first model.
    """

    def __init__(self, config: dict, persistor_id: str = "persistor") -> None:
        super().__init__()
        self.config = config
        self.persistor_id = persistor_id
        self._search: KeySearch | None = None

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Nothing was asked yet."""
        config = parse_config(self.config)
        self._search = KeySearch(config.model.experts, config.router.keys == "site", len(STYLE), config.seed)

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Ask, wait for every living site, put the answers together; stop the job with a sentence if no keys result."""
        timeout = parse_config(self.config).federation.round_timeout
        while (question := self._search.question) is not None:
            self.log_info(fl_ctx, f"Asking the sites about the style of their scans: {question['ask']}.")
            data = DXO(DataKind.STATISTICS, data=question).to_shareable()
            task = Task(name=TASK_STYLE, data=data, timeout=timeout, result_received_cb=self._received)
            self.broadcast_and_wait(task, fl_ctx, min_responses=EVERY_LIVING_SITE, abort_signal=abort_signal)
            if abort_signal.triggered:
                return
            try:
                self._search.close()
            except InputError as error:
                self.system_panic(str(error), fl_ctx)
                return
        fl_ctx.get_engine().get_component(self.persistor_id).set_router_keys(self._search.result())

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Nothing to release."""

    def process_result_of_unknown_task(
        self, client: Client, task_name: str, client_task_id: str, result: Shareable, fl_ctx: FLContext
    ) -> None:
        """A late answer; the question it belongs to is closed."""

    def _received(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        site, result = client_task.client.name, client_task.result
        try:
            if result.get_return_code(ReturnCode.OK) != ReturnCode.OK:
                raise Rejected(reason_of(result))
            answer = from_shareable(result).data
            if answer:  # a site that never trains has nothing to say
                self._search.accept(site, answer)
        except Rejected as rejected:
            self.log_warning(fl_ctx, f"{site} has no say in the experts' keys: {rejected}")
        except Exception as error:
            # Raising in a callback would end the task and drop the other sites' answers.
            self.log_warning(fl_ctx, f"{site} has no say in the experts' keys: {type(error).__name__} in its answer")
