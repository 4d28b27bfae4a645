# SPDX-License-Identifier: Apache-2.0
"""Every test: those of FLARE, and beside them, in what they leave of the processors, all others.

FLARE's tests wait for processes much of the time. Two of them at once could take each other's ports, so they stay in
one process; the others use none. Each test is in one of the halves, by its mark ``flare``.

python tests/side_by_side.py
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress

_PYTEST = (sys.executable, "-m", "pytest", "--durations=20")
FLARE = (*_PYTEST, "-m", "flare")
OTHERS = ("nice", *_PYTEST, "-m", "not flare", "-p", "no:cacheprovider")
"""Politely, so that time limits mean to FLARE's tests what they would mean alone; pytest's cache is theirs."""


def run(shown: Sequence[str], beside: Sequence[str]) -> int:
    """Run two commands at once; what the one ``beside`` prints is shown when both have ended.

    Returns the larger of their exit codes: 0 when neither failed. Ctrl-C and an end that is asked for reach both, which
    are waited for, because tests stop what they have started.
    """
    started: list[subprocess.Popen] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: _interrupt(started))
    with tempfile.TemporaryFile() as printed:
        for command, output in ((beside, printed), (shown, None)):
            # In a group of its own, so that a terminal's Ctrl-C does not reach it twice.
            started.append(
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0)
            )
        codes = [process.wait() for process in started]
        printed.seek(0)
        sys.stdout.buffer.write(b"\nBeside that:\n" + printed.read())
        sys.stdout.flush()
    return max(map(abs, codes))


def _interrupt(started: Sequence[subprocess.Popen]) -> None:
    for process in started:
        if process.returncode is None:
            with suppress(ProcessLookupError):  # it has ended just now
                os.killpg(process.pid, signal.SIGINT)


if __name__ == "__main__":
    sys.exit(run(FLARE, OTHERS))
