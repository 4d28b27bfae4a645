# SPDX-License-Identifier: Apache-2.0
"""Looks are repeated while something runs, end by themselves when one was the last, and always with the block."""

from __future__ import annotations

import threading

from fedpac_me.repeated_look import RepeatedLook


class Looks(RepeatedLook):
    def __init__(self, last: int) -> None:
        super().__init__(0.001)
        self.count, self._last, self.enough = 0, last, threading.Event()

    def look(self) -> bool:
        self.count += 1
        if self.count == 3:
            self.enough.set()
        return self.count == self._last


def test_it_looks_until_the_block_is_left():
    with Looks(last=-1) as looks:
        assert looks.enough.wait(60)
    seen = looks.count
    assert seen >= 3
    assert not looks._thread.is_alive()


def test_the_last_look_is_the_last():
    with Looks(last=3) as looks:
        looks._thread.join(60)
        assert not looks._thread.is_alive()
    assert looks.count == 3
