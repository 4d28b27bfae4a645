# SPDX-License-Identifier: Apache-2.0
"""What FLARE's minimum count lets pass: the counts themselves.

``MinCountCleanser`` takes every statistic of a feature with too few cases away but for its count (FLARE 2.9.0,
``StatisticsPrivacyCleanser.cleanse``), so that a site of two patients would say that it has two, and the server would
divide the sum of the others by the count of all.
"""

from __future__ import annotations

from nvflare.apis.fl_component import FLComponent
from nvflare.app_common.app_constant import StatisticsConstants
from nvflare.app_common.statistics.statistics_privacy_cleanser import StatisticsPrivacyCleanser


class CountCleanser(FLComponent, StatisticsPrivacyCleanser):
    """Takes away the counts of what ``MinCountCleanser``, which must come first, has withheld.

    Args:
        partitions: features that add up to the cases of a site. Where one of them is withheld they all are.
    """

    def __init__(self, partitions: list[list[str]]) -> None:
        super().__init__()
        self.partitions = partitions

    def apply(self, statistics: dict, client_name: str) -> tuple[dict, bool]:
        """The statistics without those counts, and whether there were any."""
        modified = False
        for data_set, counts in statistics.get(StatisticsConstants.STATS_COUNT, {}).items():
            passed = statistics.get(StatisticsConstants.STATS_FAILURE_COUNT, {}).get(data_set, {})
            withheld = counts.keys() - passed.keys()
            for partition in self.partitions:
                if not withheld.isdisjoint(partition):
                    withheld = withheld | set(partition)
            for by_data_set in statistics.values():
                for feature in withheld:
                    modified |= by_data_set.get(data_set, {}).pop(feature, None) is not None
        return statistics, modified
