# SPDX-License-Identifier: Apache-2.0
"""Whether a site's answer to FLARE's statistics task is one: FLARE's controller adds up whatever comes."""

from __future__ import annotations

import math
from typing import Any

from nvflare.apis.dxo import from_shareable
from nvflare.apis.shareable import Shareable
from nvflare.app_common.abstract.statistics_spec import Histogram
from nvflare.app_common.app_constant import StatisticsConstants
from nvflare.fuel.utils import fobs

from fedpac_me.data_stats.features import DATA_SET, FEATURES
from fedpac_me.errors import InputError

_STATISTICS = {name for names in StatisticsConstants.ordered_statistics.values() for name in names} - {
    StatisticsConstants.STATS_QUANTILE
}


def require_statistics(result: Shareable, task: str) -> None:
    """Raise ``InputError`` unless ``result`` answers ``task`` with numbers and histograms of known features."""
    content = from_shareable(result).data
    if content[StatisticsConstants.STATISTICS_TASK_KEY] != task:
        raise InputError(f"it answered another task than {task}")
    statistics = fobs.loads(content[task])
    counts = statistics.get(StatisticsConstants.STATS_COUNT, {}).get(DATA_SET, {})
    for statistic, by_data_set in statistics.items():
        names = {name for features in by_data_set.values() for name in features}
        if statistic not in _STATISTICS or set(by_data_set) - {DATA_SET} or names - set(FEATURES):
            raise InputError("it holds something that was not asked for")
        wants = _is_histogram if statistic == StatisticsConstants.STATS_HISTOGRAM else _is_number
        if not all(wants(value) for features in by_data_set.values() for value in features.values()):
            raise InputError(f"its {statistic} holds something else than finite numbers")
        if not all(counts.get(name, 0) >= 1 for name in names):  # FLARE divides by it
            raise InputError(f"its {statistic} is of something that it has no cases of")


def _is_histogram(value: Any) -> bool:
    return isinstance(value, Histogram) and all(len(each) == 3 and all(map(_is_number, each)) for each in value.bins)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
