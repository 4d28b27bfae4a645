# SPDX-License-Identifier: Apache-2.0
"""A federation whose sites reach the server over 10 Mbit/s and 100 ms finishes; its traffic really went that way."""

from __future__ import annotations

import pytest

from federation_cost.link import DELAY_MS, MBIT, SITES, run_behind_links
from federation_cost.tun_link import why_not

ROUNDS = 2
REASON = why_not()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """A small network, two rounds, provisioned kits."""
    return run_behind_links(tmp_path_factory.mktemp("links"), "0.3 M", ROUNDS)


def test_every_site_is_in_every_round(figures):
    assert figures["accepted"] == [["site-1", "site-2"]] * ROUNDS


def test_a_round_takes_as_long_as_the_link_needs_for_its_bytes(figures):
    least = 8 * sum(figures["wire"]) / (MBIT * 1e6) + 2 * DELAY_MS / 1e3
    assert min(figures["seconds"]) > least


def test_the_links_carried_every_sites_arrays(figures):
    up, down = figures["arrays"]
    assert sorted(figures["links"]) == [f"site-{number}" for number in range(1, SITES + 1)]
    for link in figures["links"].values():
        assert link["up"] > ROUNDS * up and link["down"] > ROUNDS * down
    assert figures["wire"][0] > up and figures["wire"][1] > down
