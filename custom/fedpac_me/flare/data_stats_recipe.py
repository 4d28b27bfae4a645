# SPDX-License-Identifier: Apache-2.0
"""The data statistics as a FLARE job: FLARE's statistics, executor and privacy filters, put together."""

from __future__ import annotations

from dataclasses import asdict

from nvflare.app_common.app_constant import StatisticsConstants
from nvflare.app_common.filters.statistics_privacy_filter import StatisticsPrivacyFilter
from nvflare.app_common.statistics.histogram_bins_cleanser import HistogramBinsCleanser
from nvflare.app_common.statistics.json_stats_file_persistor import JsonStatsFileWriter
from nvflare.app_common.statistics.min_count_cleanser import MinCountCleanser
from nvflare.app_common.statistics.min_max_cleanser import AddNoiseToMinMax
from nvflare.app_common.statistics.statistics_privacy_cleanser import StatisticsPrivacyCleanser
from nvflare.job_config.api import FedJob
from nvflare.job_config.defs import FilterType
from nvflare.recipe.spec import Recipe

from fedpac_me.data_stats.features import PARTITIONS, statistic_configs
from fedpac_me.data_stats.privacy import PrivacySettings
from fedpac_me.flare.bundle import bundle_package
from fedpac_me.flare.count_cleanser import CountCleanser
from fedpac_me.flare.data_stats_controller import STATISTICS_FILE, DataStatisticsController
from fedpac_me.flare.data_stats_executor import TASK_SHARED, TASK_SUBJECTS, DataStatistics, DataStatisticsExecutor

_WRITER = "statistics_writer"
_GENERATOR = "statistics"


class DataStatsRecipe(Recipe):
    """What every site's data is like, and which subjects are at two of them.

    Args:
        name: name of the job.
        privacy: what the sites hold back.
        bins: of each histogram.
    """

    def __init__(self, name: str, privacy: PrivacySettings, bins: int) -> None:
        job = FedJob(name=name, min_clients=1)
        self._code = bundle_package(job)
        job.to_server(DataStatisticsController(statistic_configs(bins), _WRITER, asdict(privacy)), id="data_stats")
        job.to_server(JsonStatsFileWriter(STATISTICS_FILE), id=_WRITER)
        job.to_clients(DataStatistics(), id=_GENERATOR)
        tasks = [StatisticsConstants.FED_STATS_TASK, TASK_SUBJECTS, TASK_SHARED]
        job.to_clients(DataStatisticsExecutor(_GENERATOR, privacy.min_count), tasks=tasks)
        _add_filters(job, privacy)
        super().__init__(job)


def privacy_cleansers(privacy: PrivacySettings) -> dict[str, StatisticsPrivacyCleanser]:
    """By id, in the order in which they are applied: ``CountCleanser`` looks at what ``MinCountCleanser`` did."""
    return {
        "min_count": MinCountCleanser(privacy.min_count),
        "noise": AddNoiseToMinMax(privacy.min_noise_level, privacy.max_noise_level),
        "bins": HistogramBinsCleanser(privacy.max_bins_percent),
        "counts": CountCleanser([list(features) for features in PARTITIONS]),
    }


def _add_filters(job: FedJob, privacy: PrivacySettings) -> None:
    cleansers = privacy_cleansers(privacy)
    for id_, cleanser in cleansers.items():
        job.to_clients(cleanser, id=id_)
    job.to_clients(
        StatisticsPrivacyFilter(list(cleansers)),
        filter_type=FilterType.TASK_RESULT,
        tasks=[StatisticsConstants.FED_STATS_TASK],
    )
