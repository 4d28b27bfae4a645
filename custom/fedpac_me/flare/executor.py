# SPDX-License-Identifier: Apache-2.0
"""FLARE tasks in, ``learning.site.Site`` calls, FLARE replies out."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from typing import Any

from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.app_constant import AppConstants
from nvflare.widgets.info_collector import InfoCollector

from fedpac_me.code_version import skew
from fedpac_me.config import parse_config
from fedpac_me.flare.figures import send_figures
from fedpac_me.flare.key_search import TASK_STYLE
from fedpac_me.flare.private_log import PRIVATE_LOG, append_private_log
from fedpac_me.flare.refusal import refusal_of, refuse
from fedpac_me.flare.site_context import site_folder, site_settings, site_states
from fedpac_me.learning.site import SCANS_FOLDER, Site
from fedpac_me.learning.site_progress import evaluation_sentence, ready_sentence, round_figures, round_sentence
from fedpac_me.learning.trainer import TrainingFailed, TrainingStopped


class FedPacMeExecutor(Executor):
    """Answers the tasks ``style``, ``train``, ``validate`` and ``submit_model``.

    Args:
        config: the resolved configuration as plain JSON types.
        code: the code that wrote the job; a site that runs other code refuses every task. ``None`` asks nothing.
        resumes: id of the job from which this one goes on, where it does.
    """

    def __init__(self, config: dict, code: dict | None = None, resumes: str | None = None) -> None:
        super().__init__()
        self.config = config
        self.code = code
        self.resumes = resumes
        self._one_at_a_time = threading.Lock()
        self._site: Site | None = None
        self._noted: set[str] = set()
        self._progress: dict[str, Any] = {}

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """One task. Every failure is an error reply with a sentence, never an exception."""
        tasks: dict[str, Callable[..., Shareable]] = {
            TASK_STYLE: self._answer,
            AppConstants.TASK_TRAIN: self._train,
            AppConstants.TASK_VALIDATION: self._validate,
            AppConstants.TASK_SUBMIT_MODEL: self._submit_model,
        }
        if task_name not in tasks:
            # TASK_UNKNOWN would abort the whole job.
            return make_reply(ReturnCode.TASK_UNSUPPORTED)
        sentence = None if self.code is None else skew(fl_ctx.get_identity_name(), self.code)
        if sentence:
            return refuse(self, fl_ctx, sentence, sentence)
        try:
            # FLARE may hand out a task again while the first copy still runs; both would train one model.
            with self._one_at_a_time:
                return tasks[task_name](shareable, fl_ctx, abort_signal)
        except TrainingStopped:
            return make_reply(ReturnCode.TASK_ABORTED)
        except TrainingFailed as error:
            return refuse(self, fl_ctx, str(error), str(error))
        except Exception as error:
            return refusal_of(self, fl_ctx, error)

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Shows the site's progress in the admin console (``show_stats``); deletes what only the job needed."""
        super().handle_event(event_type, fl_ctx)
        if event_type == EventType.END_RUN:
            shutil.rmtree(site_folder(fl_ctx) / SCANS_FOLDER, ignore_errors=True)
        if event_type == InfoCollector.EVENT_TYPE_GET_STATS:
            collector = fl_ctx.get_prop(InfoCollector.CTX_KEY_STATS_COLLECTOR)
            if collector is not None:
                collector.add_info("FedPAC-ME site", dict(self._progress))

    def _answer(self, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        question = from_shareable(shareable).data
        answer = self._get_site(fl_ctx).answer(question)
        told = "answered in sums and centres" if answer else "no training scans, nothing to say"
        self.log_info(fl_ctx, f"Asked about the style of the training scans ({question['ask']}): {told}.")
        return DXO(DataKind.STATISTICS, data=answer or {}).to_shareable()

    def _train(self, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        round_number = shareable.get_header(AppConstants.CURRENT_ROUND)
        site = self._get_site(fl_ctx)
        model = from_shareable(shareable)
        update = site.train(
            model.data, round_number, lambda: abort_signal.triggered, server_meta=model.get_meta_props() or {}
        )
        self._note_unusable(site, fl_ctx)
        figures = round_figures(update, model.data)
        self._progress = {"round": round_number, "site": site.name, "role": site.role, **figures}
        send_figures(self, fl_ctx, figures, round_number)
        self.log_info(fl_ctx, round_sentence(site, round_number, update, model.data))
        return DXO(DataKind.WEIGHT_DIFF, data=update.diff, meta=update.meta).to_shareable()

    def _validate(self, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        model_name = shareable.get_header(AppConstants.MODEL_OWNER, "model")
        site = self._get_site(fl_ctx)
        evaluation = site.evaluate(from_shareable(shareable).data, model_name, lambda: abort_signal.triggered)
        self.log_info(fl_ctx, evaluation_sentence(model_name, evaluation))
        self._note_unusable(site, fl_ctx)
        return DXO(DataKind.METRICS, data=evaluation).to_shareable()

    def _submit_model(self, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        weights = self._get_site(fl_ctx).local_weights()
        if weights is None:
            self.log_info(fl_ctx, "Asked for the model trained here: there is none.")
            return make_reply(ReturnCode.EMPTY_RESULT)
        self.log_info(fl_ctx, "Asked for the model trained here: sends it, for an evaluation at every site.")
        return DXO(DataKind.WEIGHTS, data=weights).to_shareable()

    def _get_site(self, fl_ctx: FLContext) -> Site:
        if self._site is None:
            name, config = fl_ctx.get_identity_name(), parse_config(self.config)
            settings = site_settings(fl_ctx)
            states = site_states(fl_ctx, settings, self.resumes)
            self._site = Site(name, config, settings, site_folder(fl_ctx), states)
            if self.resumes and self._site.trains and not any(states.iterdir()):
                self.log_warning(
                    fl_ctx,
                    f"This site has no state of job {self.resumes}: it goes on with a fresh optimiser, and without "
                    "what its model had of its own.",
                )
            self.log_info(fl_ctx, ready_sentence(self._site))
        return self._site

    def _note_unusable(self, site: Site, fl_ctx: FLContext) -> None:
        """The reasons, which name files, go into the site's own log, each once."""
        for case, reason in site.readable.unusable.items():
            if case not in self._noted:
                self._noted.add(case)
                append_private_log(site_folder(fl_ctx) / PRIVATE_LOG, f"Left out: {reason}")
