# SPDX-License-Identifier: Apache-2.0
"""Two threads of a simulator never simulate the same site, which FLARE's own choice of the next one allows."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext
from nvflare.private.fed.app.simulator.simulator_runner import SimulatorClientRunner

from fedpac_me.flare import simulator_turns
from fedpac_me.flare.simulator_turns import SimulatorTurns, next_site

pytestmark = pytest.mark.flare
THREADS = 2


class Turns:
    """What FLARE's threads do between two tasks, one step at a time."""

    def __init__(self, choose, monkeypatch, sites=3):
        clients = [SimpleNamespace(client_name=f"site-{number}", simulate_running=False) for number in range(sites)]
        self.runner = SimpleNamespace(federated_clients=clients, run_client_index=-1, logger=logging.getLogger("turns"))
        self.choose, self.monkeypatch = choose, monkeypatch

    def chosen_by(self, thread):
        self.monkeypatch.setattr(simulator_turns.threading, "get_ident", lambda: thread)
        return self.choose(self.runner, None)

    def started_by(self, thread):
        client = self.chosen_by(thread)
        client.simulate_running = True
        return client


def chosen_while_another_closes(turns):
    """The site that the first thread will go on with, and the one that the second chooses before it does."""
    for thread in range(THREADS):
        turns.started_by(thread)
    return turns.chosen_by(0).client_name, turns.chosen_by(1).client_name


def test_a_site_that_another_thread_has_chosen_is_left_to_it(monkeypatch):
    turns = Turns(next_site, monkeypatch)
    assert chosen_while_another_closes(turns) == ("site-2", "site-1")  # the second goes on with its own


def test_flares_own_choice_gives_it_to_both(monkeypatch):
    """When this fails FLARE has mended it, and ``SimulatorTurns`` can go."""
    turns = Turns(SimulatorClientRunner.get_next_run_client, monkeypatch)
    assert chosen_while_another_closes(turns) == ("site-2", "site-2")


def test_every_site_gets_its_turn(monkeypatch):
    turns = Turns(next_site, monkeypatch, sites=5)
    running = [turns.started_by(thread) for thread in range(THREADS)]
    seen = []
    for step in range(20):
        thread = step % THREADS
        following = turns.chosen_by(thread)
        running[thread].simulate_running = False
        following.simulate_running = True
        assert following is not running[1 - thread]
        running[thread] = following
        seen.append(following.client_name)
    assert {name: seen.count(name) for name in seen} == dict.fromkeys(sorted(set(seen)), 4)


def test_it_acts_when_the_run_starts_and_in_a_simulator_alone(monkeypatch):
    monkeypatch.setattr(SimulatorClientRunner, "get_next_run_client", before := object())
    SimulatorTurns().handle_event(EventType.END_RUN, FLContext())
    assert SimulatorClientRunner.get_next_run_client is before
    with monkeypatch.context() as elsewhere:
        elsewhere.delitem(simulator_turns.sys.modules, SimulatorClientRunner.__module__)
        SimulatorTurns().handle_event(EventType.START_RUN, FLContext())
    assert SimulatorClientRunner.get_next_run_client is before
    SimulatorTurns().handle_event(EventType.START_RUN, FLContext())
    assert SimulatorClientRunner.get_next_run_client is next_site
