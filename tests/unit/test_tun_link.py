# SPDX-License-Identifier: Apache-2.0
"""One direction of the slow link of the benchmarks: how long a packet takes, and when it is dropped."""

from __future__ import annotations

import os

import pytest

from federation_cost.tun_link import Lane

PACKET = bytes(1250)
BITS_PER_SECOND = 1e6
OWN_TIME = 8 * len(PACKET) / BITS_PER_SECOND
DELAY = 0.1


@pytest.fixture
def ends():
    """Where packets come from and where they go to."""
    source, entrance = os.pipe()
    out, sink = os.pipe()
    os.set_blocking(out, False)
    yield source, entrance, out, sink
    for descriptor in (source, entrance, out, sink):
        os.close(descriptor)


@pytest.fixture
def lane(ends) -> Lane:
    source, _, _, sink = ends
    return Lane(source, sink, BITS_PER_SECOND, DELAY)


def send(lane: Lane, ends, now: float) -> None:
    os.write(ends[1], PACKET)
    lane.take(now)


def test_a_packet_arrives_after_its_own_time_and_the_delay(lane, ends):
    send(lane, ends, 5.0)
    assert lane.give(5.0) == pytest.approx(5.0 + OWN_TIME + DELAY)
    assert lane.carried == 0
    assert lane.give(5.0 + OWN_TIME + DELAY + 1e-6) == float("inf")
    assert os.read(ends[2], 2 * len(PACKET)) == PACKET
    assert lane.carried == len(PACKET)


def test_packets_wait_for_those_before_them(lane, ends):
    for _ in range(3):
        send(lane, ends, 5.0)
    lane.give(5.0 + 2 * OWN_TIME + DELAY + 1e-6)
    assert lane.carried == 2 * len(PACKET)
    assert lane.give(5.0) == pytest.approx(5.0 + 3 * OWN_TIME + DELAY)


def test_a_quiet_lane_owes_nothing(lane, ends):
    send(lane, ends, 5.0)
    send(lane, ends, 9.0)
    lane.give(8.0)
    assert lane.give(8.0) == pytest.approx(9.0 + OWN_TIME + DELAY)


def test_what_would_wait_too_long_is_dropped(lane, ends):
    for _ in range(30):
        send(lane, ends, 5.0)
    lane.give(100.0)
    assert lane.carried + lane.dropped == 30 * len(PACKET)
    assert lane.carried == 21 * len(PACKET)
