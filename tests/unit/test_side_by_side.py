# SPDX-License-Identifier: Apache-2.0
"""Both halves of `make test` count, and both end when somebody ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import side_by_side

_WAITS = """
import signal, sys
signal.signal(signal.SIGINT, lambda *_: (print("{name} cleans up", flush=True), sys.exit(2)))
with open({told!r}, "w") as told:
    told.write("up")
signal.pause()
"""


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def command(shown: str, beside: str) -> list[str]:
    """``side_by_side.run`` of two Python programs, in a process of its own since it takes the signals."""
    words = f"{python(shown)!r}, {python(beside)!r}"
    return python(
        f"import sys; sys.path.insert(0, {str(Path(side_by_side.__file__).parent)!r}); "
        f"import side_by_side; sys.exit(side_by_side.run({words}))"
    )


@pytest.mark.parametrize(("shown", "beside", "code"), [(0, 0, 0), (1, 0, 1), (0, 1, 1), (3, 4, 4)])
def test_whichever_fails_the_whole_fails_and_what_both_printed_is_shown(shown, beside, code):
    programs = (f"print('one'); raise SystemExit({shown})", f"print('other'); raise SystemExit({beside})")
    done = subprocess.run(command(*programs), capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (code, ["one", "Beside", "that:", "other"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_are_interrupted_and_waited_for(tmp_path, number):
    pipes = {name: tmp_path / name for name in ("one", "other")}
    for pipe in pipes.values():
        os.mkfifo(pipe)
    programs = [_WAITS.format(name=name, told=str(pipe)) for name, pipe in pipes.items()]
    with subprocess.Popen(command(*programs), stdout=subprocess.PIPE, text=True) as run:
        assert [pipe.read_text() for pipe in pipes.values()] == ["up", "up"]
        run.send_signal(number)
        assert run.stdout.read().split("\n") == ["one cleans up", "", "Beside that:", "other cleans up", ""]
    assert run.returncode == 2
