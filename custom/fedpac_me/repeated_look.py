# SPDX-License-Identifier: Apache-2.0
"""Something that is looked at now and then, in a thread of its own, while something else runs."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod


class RepeatedLook(ABC):
    """While entered, calls ``look`` every ``seconds`` until that returns true; leaving waits for a look to end."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @abstractmethod
    def look(self) -> bool:
        """Look once; whether it was the last time."""

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._left.wait(self._seconds) and not self.look():
            pass
