# SPDX-License-Identifier: Apache-2.0
"""A site's part in the data statistics: FLARE's questions in, ``data_stats.site_figures`` asked, numbers out."""

from __future__ import annotations

import threading
from typing import Any

from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.statistics_spec import Bin, DataType, Feature, Histogram, HistogramType, Statistics
from nvflare.app_common.app_constant import StatisticsConstants
from nvflare.app_common.executors.statistics.statistics_executor import StatisticsExecutor
from nvflare.app_common.executors.statistics.statistics_task_handler import StatisticsTaskHandler

from fedpac_me.data_stats.features import DATA_SET
from fedpac_me.data_stats.site_figures import SiteFigures, read_site
from fedpac_me.data_stats.subjects import hashed_subjects, own_cases
from fedpac_me.errors import InputError
from fedpac_me.flare.private_log import PRIVATE_LOG, append_private_log
from fedpac_me.flare.refusal import refusal_of
from fedpac_me.flare.site_context import site_folder, site_settings

TASK_SUBJECTS = "fed_stats_subjects"
"""The site's hashed subjects, please."""
TASK_SHARED = "fed_stats_shared"
"""These of your subjects are at another site, too."""


class DataStatistics(Statistics):
    """What FLARE's executor asks, by feature; there is one data set. ``figures`` is set before it asks."""

    def __init__(self) -> None:
        super().__init__()
        self.figures: SiteFigures | None = None

    def features(self) -> dict[str, list[Feature]]:
        """Those that a case says something about: FLARE divides by the count."""
        return {DATA_SET: [Feature(name, DataType.FLOAT) for name in self.figures.features()]}

    def count(self, dataset_name: str, feature_name: str) -> int:
        """Number of cases."""
        return self.figures.count(feature_name)

    def sum(self, dataset_name: str, feature_name: str) -> float:
        """Sum over the cases."""
        return self.figures.sum(feature_name)

    def stddev(self, dataset_name: str, feature_name: str) -> float:
        """Deviation between the cases."""
        return self.figures.deviation(feature_name)

    def variance_with_mean(
        self, dataset_name: str, feature_name: str, global_mean: float, global_count: float
    ) -> float:
        """The site's part of the federation's variance."""
        return self.figures.variance_around(feature_name, global_mean, global_count)

    def min_value(self, dataset_name: str, feature_name: str) -> float:
        """Where the histogram would begin; noise is added before it leaves."""
        return self.figures.extremes(feature_name)[0]

    def max_value(self, dataset_name: str, feature_name: str) -> float:
        """Where the histogram would end; noise is added before it leaves."""
        return self.figures.extremes(feature_name)[1]

    def histogram(
        self, dataset_name: str, feature_name: str, num_of_bins: int, global_min_value: float, global_max_value: float
    ) -> Histogram:
        """Cases per bin; without bins for what is no intensity."""
        bins = self.figures.histogram(feature_name, num_of_bins, global_min_value, global_max_value)
        return Histogram(HistogramType.STANDARD, [Bin(*each) for each in bins])


class DataStatisticsTaskHandler(StatisticsTaskHandler):
    """FLARE's own, less the names of the features that a site has something to say about."""

    def execute_task(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """The site's statistics, as yet unfiltered."""
        result = super().execute_task(task_name, shareable, fl_ctx, abort_signal)
        # No filter looks at these names, and the server has no use for them.
        result.pop(StatisticsConstants.STATS_FEATURES, None)
        return result


class DataStatisticsExecutor(StatisticsExecutor):
    """FLARE's own, with two more tasks, and with the data read before it asks: it cannot say why it failed.

    Args:
        generator_id: the ``DataStatistics`` component.
        min_count: a site with fewer cases sends no hashes either.
    """

    def __init__(self, generator_id: str, min_count: int) -> None:
        super().__init__(generator_id)
        self.min_count = min_count
        self._one_at_a_time = threading.Lock()
        self._figures: SiteFigures | None = None
        self._failure: InputError | None = None

    def get_task_handler(self, fl_ctx: FLContext) -> StatisticsTaskHandler:
        """What answers FLARE's own tasks."""
        handler = DataStatisticsTaskHandler(self.generator_id, self.precision)
        handler.initialize(fl_ctx)
        return handler

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """One task. Every failure is an error reply with a sentence, never an exception."""
        try:
            with self._one_at_a_time:
                figures = self._read(fl_ctx)
            if task_name == TASK_SUBJECTS:
                return _reply({"subjects": self._subjects(figures, from_shareable(shareable).data["salt"])})
            if task_name == TASK_SHARED:
                self._note_shared(figures, from_shareable(shareable).data, fl_ctx)
                return _reply({})
            self.task_handler.stats_generator.figures = figures
        except Exception as error:
            return refusal_of(self, fl_ctx, error)
        return super().execute(task_name, shareable, fl_ctx, abort_signal)

    def _read(self, fl_ctx: FLContext) -> SiteFigures:
        """The site's figures, read when first asked for; data that cannot be used is not read again either."""
        if self._failure is not None:
            raise self._failure
        if self._figures is None:
            log = site_folder(fl_ctx) / PRIVATE_LOG
            try:
                self._figures = read_site(site_settings(fl_ctx), lambda sentence: append_private_log(log, sentence))
            except InputError as error:
                self._failure = error
                raise
        return self._figures

    def _subjects(self, figures: SiteFigures, salt: str) -> list[list[str]]:
        return hashed_subjects(figures.cases, salt) if len(figures.cases) >= self.min_count else []

    def _note_shared(self, figures: SiteFigures, message: dict[str, Any], fl_ctx: FLContext) -> None:
        for case_id in own_cases(figures.cases, message["salt"], message["hashes"]):
            append_private_log(
                site_folder(fl_ctx) / PRIVATE_LOG,
                f"Case {case_id} is at another site of this federation, too: an image of it holds the same voxels. "
                "Agree with the other sites who keeps it: a subject must not be trained on and tested.",
            )


def _reply(data: dict[str, Any]) -> Shareable:
    return DXO(DataKind.APP_DEFINED, data=data).to_shareable()
