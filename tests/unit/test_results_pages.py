# SPDX-License-Identifier: Apache-2.0
"""The pages that are computed from kept figures say what these figures say, and the arithmetic between is right."""

from __future__ import annotations

import pytest

import scaling
import server
from fedpac_me.storage import read_json


def row(sites: int, peak: float, cpu: float, processes: int | None = None) -> dict[str, float]:
    return {"sites": sites, "processes": processes or sites, "peak": peak, "cpu": cpu}


def test_needs_follow_the_line_through_the_fewest_and_the_most_sites():
    rows = [row(5, 100.0, 2.0), row(20, 999.0, 99.0), row(50, 1000.0, 20.0), row(80, 5.0, 5.0, processes=10)]
    found = scaling.need(rows, payload=3.0, hospitals=1000)
    assert found.memory == pytest.approx(100 + 20 * 995)
    assert found.processor == pytest.approx(2 + 0.4 * 995)
    assert found.traffic == 3000
    assert not found.measured


@pytest.mark.parametrize(("hospitals", "inside"), [(4, False), (5, True), (50, True), (51, False)])
def test_a_line_says_whether_so_many_sites_were_measured(hospitals, inside):
    rows = [row(5, 100.0, 2.0), row(50, 1000.0, 20.0)]
    assert scaling.need(rows, 1.0, hospitals).measured is inside


def test_a_link_of_100_mbit_carries_12_and_a_half_megabytes_a_second():
    need = scaling.need([row(1, 1.0, 1.0), row(2, 2.0, 2.0)], payload=25e6, hospitals=10)
    assert need.link(100) == pytest.approx(20)


def test_the_page_on_scaling_is_that_of_the_kept_figures():
    assert scaling.OUT.read_text(encoding="utf-8") == scaling.page(read_json(scaling.FEDERATION))


def test_the_page_on_the_server_is_that_of_the_kept_figures():
    assert server.OUT.read_text(encoding="utf-8") == server.page(read_json(server.KEPT))
