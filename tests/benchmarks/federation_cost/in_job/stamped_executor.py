# SPDX-License-Identifier: Apache-2.0
"""The project's executor, which also writes down when the first training step began."""

from __future__ import annotations

import time
from pathlib import Path

from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.app_constant import AppConstants

from fedpac_me.flare.executor import FedPacMeExecutor
from fedpac_me.flare.site_context import site_folder
from fedpac_me.storage import write_json

STAMP = "first_step.json"


class StampedExecutor(FedPacMeExecutor):
    """Writes ``STAMP`` into the site's folder: ``task`` and ``step``, seconds since the epoch.

    At a site without validation cases the first training step is the first time that anyone asks whether to stop.
    """

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """One task, as the project's executor does it."""
        path = site_folder(fl_ctx) / STAMP
        if task_name == AppConstants.TASK_TRAIN and not path.exists():
            abort_signal = _Watched(abort_signal, path)
        return super().execute(task_name, shareable, fl_ctx, abort_signal)


class _Watched:
    """An abort signal that notes when it was first looked at."""

    def __init__(self, signal: Signal, path: Path) -> None:
        self._signal = signal
        self._path = path
        self._task = time.time()
        self._written = False

    @property
    def triggered(self) -> bool:
        if not self._written:
            self._written = True
            write_json(self._path, {"task": self._task, "step": time.time()})
        return self._signal.triggered
