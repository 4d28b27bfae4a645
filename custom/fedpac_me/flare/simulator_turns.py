# SPDX-License-Identifier: Apache-2.0
"""In a simulator with fewer threads than sites, no site is simulated by two threads at once.

FLARE's threads take turns with the sites. One that has chosen its next site closes the process of its last one before
it marks the next as running, which takes a second or more; another thread may choose the same one in that time. Then
one of that site's two processes loses its connection and keeps its task for ever, and the job never ends (FLARE 2.9.0,
``SimulatorClientRunner.get_next_run_client``).
"""

from __future__ import annotations

import sys
import threading
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext

_SIMULATOR = "nvflare.private.fed.app.simulator.simulator_runner"
_CHOSEN = "_fedpac_me_chosen"


class SimulatorTurns(FLComponent):
    """In every job, at the server; does nothing outside a simulator, whose sites begin after ``START_RUN``."""

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Has the threads of this process's simulator choose by ``next_site``."""
        simulator = sys.modules.get(_SIMULATOR)
        if event_type == EventType.START_RUN and simulator is not None:
            simulator.SimulatorClientRunner.get_next_run_client = next_site


def next_site(runner: Any, gpu: str | None) -> Any:
    """The client after the last one that was chosen which neither runs nor is chosen by another thread; where there is
    none, this thread's own goes on. ``runner`` is FLARE's ``SimulatorClientRunner``, whose lock is held.
    """
    chosen = runner.__dict__.setdefault(_CHOSEN, {})
    own = chosen.pop(threading.get_ident(), None)
    clients, last = runner.federated_clients, runner.run_client_index
    in_turn = [(last + step) % len(clients) for step in range(1, len(clients) + 1)]
    free = [at for at in in_turn if not clients[at].simulate_running and clients[at] not in chosen.values()]
    runner.run_client_index = free[0] if free else last
    client = clients[free[0]] if free else own
    chosen[threading.get_ident()] = client
    runner.logger.info(f"Simulate Run client: {client.client_name} on GPU group: {gpu}")
    return client
