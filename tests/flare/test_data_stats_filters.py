# SPDX-License-Identifier: Apache-2.0
"""What leaves a site after FLARE's privacy filters: its real task handler and cleansers, without processes."""

from __future__ import annotations

from functools import partial

import pytest
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.fl_context import FLContext
from nvflare.apis.signal import Signal
from nvflare.app_common.app_constant import StatisticsConstants as StC
from nvflare.app_common.filters.statistics_privacy_filter import StatisticsPrivacyFilter
from nvflare.app_common.statistics.numeric_stats import get_global_stats
from nvflare.app_common.workflows.statistics_controller import StatisticsController
from nvflare.fuel.utils import fobs

from cases import write_case
from fedpac_me.data.site import SiteSettings
from fedpac_me.data_stats.features import DATA_SET, RAW, Z_SCORES, statistic_configs
from fedpac_me.data_stats.privacy import PrivacySettings
from fedpac_me.data_stats.site_figures import SiteFigures, read_site
from fedpac_me.flare.data_stats_executor import DataStatistics, DataStatisticsTaskHandler
from fedpac_me.flare.data_stats_recipe import privacy_cleansers

BINS = 4
OPEN = PrivacySettings(min_count=1, min_noise_level=0.0, max_noise_level=0.0)


@pytest.fixture(scope="module")
def figures(tmp_path_factory) -> SiteFigures:
    """Seven cases, of which two have no FLAIR."""
    folder = tmp_path_factory.mktemp("site")
    for number in range(7):
        case = write_case(folder, f"C_{number}", edge=16, seed=number, missing=("flair",) if number < 2 else ())
        (case / "acquisition.json").write_text(f'{{"grade": "{"LGG" if number < 3 else "HGG"}"}}')
    return read_site(SiteSettings(data=(folder,)), lambda sentence: None)


def leaving(figures: SiteFigures, privacy: PrivacySettings) -> dict:
    """What one site alone sends in both of FLARE's tasks: by statistic and feature."""
    handler = DataStatisticsTaskHandler("statistics")
    handler.stats_generator = DataStatistics()
    handler.stats_generator.figures = figures
    configs = statistic_configs(BINS)
    controller = StatisticsController(configs, "writer")
    cleansers = list(privacy_cleansers(privacy).values())
    sent = {}
    for task in (StC.STATS_1st_STATISTICS, StC.STATS_2nd_STATISTICS):
        result = handler.execute_task(StC.FED_STATS_TASK, controller._prepare_inputs(task), FLContext(), Signal())
        assert StC.STATS_FEATURES not in result
        dxo = DXO(DataKind.STATISTICS, data=dict(result))
        filtered = StatisticsPrivacyFilter([]).filter_stats_statistics(dxo, "site", cleansers)
        statistics = fobs.loads(filtered.data[task])
        sent |= statistics
        client_statistics = {name: {"site": values} for name, values in sent.items()}
        get_global_stats(controller.global_statistics, client_statistics, task, configs)
    return {name: by_data_set[DATA_SET] for name, by_data_set in sent.items()}


def test_without_protection_everything_is_sent(figures):
    sent = leaving(figures, OPEN)
    assert sent["count"]["cases"] == 7
    assert (sent["count"]["HGG"], sent["count"]["LGG"]) == (4, 3)
    assert sent["count"][RAW["flair"]] == 5
    assert (sent["min"][RAW["t1"]], sent["max"][RAW["t1"]]) == pytest.approx(figures.extremes(RAW["t1"]))
    for feature in (RAW["flair"], Z_SCORES["flair"]):
        bins = sent["histogram"][feature].bins
        assert (len(bins), sum(each.sample_count for each in bins)) == (BINS, pytest.approx(5))


def test_minimum_count_a_site_with_fewer_cases_sends_nothing_not_even_its_counts(figures):
    for values in leaving(figures, PrivacySettings(min_count=8, max_bins_percent=100)).values():
        assert values == {}


def test_minimum_count_a_figure_over_fewer_cases_stays_and_so_does_what_gives_it_away(figures):
    sent = leaving(figures, PrivacySettings(min_count=4))
    assert sent["count"]["cases"] == 7
    for values in sent.values():
        assert "LGG" not in values
        assert "HGG" not in values  # four of them, but with the seven cases it would say that three are LGG
    assert RAW["flair"] in sent["mean"]
    sent = leaving(figures, PrivacySettings(min_count=6))
    for values in sent.values():
        assert not {RAW["flair"], Z_SCORES["flair"]} & values.keys()
    assert RAW["t1"] in sent["histogram"]


def test_minimum_count_the_unusable_do_not_give_a_withheld_site_away(figures):
    many = SiteFigures(figures.cases, unusable=20)
    for values in leaving(many, PrivacySettings(min_count=10)).values():
        assert values == {}


@pytest.mark.parametrize(("least", "most"), [(0.1, 0.3), (0.5, 0.6)])
def test_noise_moves_the_extremes_outwards(figures, least, most):
    low, high = figures.extremes(RAW["t1"])
    for _ in range(5):
        sent = leaving(figures, PrivacySettings(1, least, most))
        assert (1 - most) * low <= sent["min"][RAW["t1"]] <= (1 - least) * low
        assert (1 + least) * high <= sent["max"][RAW["t1"]] <= (1 + most) * high
        bins = sent["histogram"][RAW["t1"]].bins
        assert bins[0].low_value == pytest.approx(sent["min"][RAW["t1"]], abs=1e-3)
        assert bins[-1].high_value == pytest.approx(sent["max"][RAW["t1"]], abs=1e-3)


@pytest.mark.parametrize(
    ("percent", "kept"), [(100, {"t1", "t1ce", "t2", "flair"}), (80, {"t1", "t1ce", "t2"}), (50, ())]
)
def test_bins_a_histogram_of_too_many_for_its_cases_stays(figures, percent, kept):
    settings = partial(PrivacySettings, min_count=1, max_bins_percent=percent)
    sent = leaving(figures, settings())
    found = {feature for feature, histogram in sent["histogram"].items() if histogram.bins}
    assert found == {names[modality] for modality in kept for names in (RAW, Z_SCORES)}
    assert RAW["t1"] in sent["count"]
