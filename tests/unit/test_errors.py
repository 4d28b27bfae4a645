# SPDX-License-Identifier: Apache-2.0
"""How every command ends."""

from __future__ import annotations

import subprocess
import sys

ENDLESS = """
import itertools, sys
from fedpac_me.errors import exit_code
sys.exit(exit_code(lambda: [print("line", flush=True) for _ in itertools.count()]))
"""


def test_a_reader_who_has_seen_enough_ends_a_command_without_a_word():
    with subprocess.Popen([sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        assert command.stdout.readline() == b"line\n"
        command.stdout.close()
        assert (command.stderr.read(), command.wait(timeout=60)) == (b"", 1)
