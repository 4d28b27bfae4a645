# SPDX-License-Identifier: Apache-2.0
"""FLARE's processes give back the memory of messages that have been sent.

FLARE 2.9.0 keeps a buffer of 1 MiB for every stream that it sends, in a ``TxTask`` and a ``StreamFuture`` that refer to
each other, and every exchange with the server sends several. Only a full collection ends them, and Python makes one the
later the more objects a process holds: an idle site's came once in ninety rounds. FLARE collects by itself in the
server's job after every round, but neither in a site's job nor in the server's parent process.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext
from nvflare.fuel.utils.memory_utils import try_malloc_trim

_AFTER = (EventType.AFTER_SEND_TASK_RESULT, EventType.CLIENT_HEARTBEAT_PROCESSED)


class FreedMemory(FLComponent):
    """In every job, at the sites, and in the server's kit (see ``kits.configure_kit``).

    Acts when a site has sent an answer and has nothing to do, and after a site's heartbeat at the server.

    Args:
        seconds: how long at least lies between two times.
    """

    def __init__(self, seconds: float = 10.0) -> None:
        super().__init__()
        self.seconds = seconds
        self._clock: Callable[[], float] = time.monotonic
        self._looking = threading.Lock()
        self._next = 0.0

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Gives back what is free, at these events and not too often."""
        if event_type in _AFTER and self._is_time():
            gc.collect()
            try_malloc_trim()

    def _is_time(self) -> bool:
        with self._looking:
            now = self._clock()
            if now < self._next:
                return False
            self._next = now + self.seconds
            return True
