# SPDX-License-Identifier: Apache-2.0
"""The server's part in the data statistics: FLARE's controller, then the shared subjects, then the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.app_constant import StatisticsConstants
from nvflare.app_common.workflows.statistics_controller import StatisticsController

from fedpac_me.data_stats.report import write_data_stats
from fedpac_me.data_stats.subjects import count_shared, draw_salt, require_subjects, shared_hashes
from fedpac_me.data_stats.summary import summarise
from fedpac_me.errors import InputError
from fedpac_me.flare.data_stats_executor import TASK_SHARED, TASK_SUBJECTS
from fedpac_me.flare.error_reply import reason_of
from fedpac_me.flare.statistics_answer import require_statistics
from fedpac_me.storage import read_json

STATISTICS_FILE = "statistics.json"


class DataStatisticsController(StatisticsController):
    """Goes on without the sites that cannot answer, and names them in the report.

    Args:
        statistic_configs: what is asked, see FLARE's ``StatisticsController``.
        writer_id: the component that writes ``STATISTICS_FILE`` into the job's folder.
        privacy: the settings of the filters, for the report.
        answer_timeout: seconds that a task waits for the other sites after the first has answered.
    """

    def __init__(self, statistic_configs: dict, writer_id: str, privacy: dict, answer_timeout: int = 3600) -> None:
        super().__init__(
            statistic_configs,
            writer_id,
            wait_time_after_min_received=answer_timeout,
            # Those who answered have, when the task ends; FLARE ends the whole job where one of min_clients is lacking.
            min_clients=1,
            enable_pre_run_task=False,
        )
        self.privacy = privacy
        self.answer_timeout = answer_timeout
        # By default an error at one site ends the job for all.
        self.abort_job_in_error = dict.fromkeys(self.abort_job_in_error, False)
        self._silent: dict[str, str] = {}
        self._subjects: dict[str, list[list[str]]] = {}
        self._saved = False

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Everything in turn; stops the job with a sentence where nothing results."""
        try:
            super().control_flow(abort_signal, fl_ctx)
            if self._saved and not abort_signal.triggered:
                self._compare_subjects(abort_signal, fl_ctx)
                self._write(fl_ctx)
        except Exception as error:
            self.system_panic(f"The statistics ended in {type(error).__name__}: {error}", fl_ctx)

    def results_cb(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        """FLARE's own for an answer that is one, and a note of the site that has none."""
        reason = self._taken(client_task, fl_ctx, self._take_statistics)
        if reason is not None:
            self._silent[client_task.client.name] = reason

    def post_fn(self, task_name: str, fl_ctx: FLContext) -> None:
        """FLARE's own, which saves the statistics, where there are any."""
        sites = [by_data_set for by_site in self.client_statistics.values() for by_data_set in by_site.values()]
        if any(features for by_data_set in sites for features in by_data_set.values()):
            super().post_fn(task_name, fl_ctx)
            self._saved = True
            return
        reasons = "".join(f" {site}: {reason}." for site, reason in sorted(self._silent.items()))
        self.system_panic(
            f"No site has statistics to show: its data cannot be used, or it has fewer than "
            f"{self.privacy['min_count']} cases, the minimum count.{reasons}",
            fl_ctx,
        )

    def _taken(
        self, client_task: ClientTask, fl_ctx: FLContext, take: Callable[[ClientTask, FLContext], None]
    ) -> str | None:
        """Hand an answer to ``take``; why it was not taken, if so.

        Raising in a callback would end the task and drop the other sites' answers.
        """
        try:
            if client_task.result.get_return_code(ReturnCode.OK) != ReturnCode.OK:
                raise InputError(reason_of(client_task.result))
            take(client_task, fl_ctx)
            return None
        except Exception as error:
            reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__} in its answer"
            self.log_warning(fl_ctx, f"An answer of {client_task.client.name} was left out: {reason}")
            return reason
        finally:
            client_task.result = None  # FLARE would keep it for as long as the job runs

    def _take_statistics(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        require_statistics(client_task.result, client_task.task.props[StatisticsConstants.STATISTICS_TASK_KEY])
        super().results_cb(client_task, fl_ctx)

    def _take_subjects(self, client_task: ClientTask, fl_ctx: FLContext) -> None:
        answer = from_shareable(client_task.result).data
        self._subjects[client_task.client.name] = require_subjects(answer["subjects"])

    def _compare_subjects(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Ask all sites for hashes, and tell each which of its own are elsewhere. The salt is kept nowhere."""
        salt = draw_salt()
        question = Task(
            name=TASK_SUBJECTS,
            data=_message({"salt": salt}),
            result_received_cb=lambda client_task, fl_ctx: self._taken(client_task, fl_ctx, self._take_subjects),
        )
        self.broadcast_and_wait(
            question,
            fl_ctx,
            min_responses=self.min_clients,
            wait_time_after_min_received=self.wait_time_after_min_received,
            abort_signal=abort_signal,
        )
        for site, hashes in shared_hashes(self._subjects).items():
            if hashes and not abort_signal.triggered:
                content = {"salt": salt, "hashes": hashes}
                note = Task(TASK_SHARED, data=_message(content), timeout=self.wait_time_after_min_received)
                self.broadcast_and_wait(note, fl_ctx, targets=[site], min_responses=1, abort_signal=abort_signal)

    def _write(self, fl_ctx: FLContext) -> None:
        engine = fl_ctx.get_engine()
        answered = self.client_statistics.get(StatisticsConstants.STATS_COUNT, {})
        for client in engine.get_clients():
            if client.name not in answered:
                self._silent.setdefault(client.name, "it gave no answer in time")
        folder = Path(engine.get_workspace().get_run_dir(fl_ctx.get_job_id()))
        report = summarise(
            read_json(folder / STATISTICS_FILE),
            answered=list(answered),
            silent=self._silent,
            shared=count_shared(self._subjects),
            privacy=self.privacy,
        )
        write_data_stats(folder, report)


def _message(content: dict[str, Any]) -> Shareable:
    return DXO(DataKind.APP_DEFINED, data=content).to_shareable()
