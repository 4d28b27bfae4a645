# SPDX-License-Identifier: Apache-2.0
"""Waiting for a federation that does not come, and for a port that is not free yet."""

from __future__ import annotations

import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest

from fedpac_me.errors import InputError
from fedpac_me.flare import readiness
from fedpac_me.flare.local_federation import FederationFailed
from fedpac_me.flare.provisioned import rehearse
from poc_tools import free_port


def test_a_server_that_ends_before_it_listens_is_not_waited_for(tmp_path, monkeypatch):
    marked = tmp_path / "server/startup/sub_start.sh"
    program = "import sys; print('ready', flush=True); sys.stdin.read()"
    server = subprocess.Popen(
        [sys.executable, "-c", program, str(marked)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout.readline() == "ready\n"
    looks = []

    def end_at_the_second_look(port):
        looks.append(port)
        if len(looks) == 2:
            server.communicate()

    monkeypatch.setattr(readiness, "holder_of", end_at_the_second_look)
    federation = SimpleNamespace(port=free_port(), workspace=tmp_path, kits=tmp_path)
    with pytest.raises(FederationFailed, match=r"ended before it listened.*log\.txt"):
        readiness.wait_until_ready(federation, [])
    assert len(looks) == 2


def test_a_port_that_the_system_still_keeps_is_a_sentence():
    with socket.socket() as bound:  # and nobody listens
        bound.bind(("localhost", 0))
        with pytest.raises(InputError, match=r"up to a minute.*start again after that"):
            rehearse(SimpleNamespace(port=bound.getsockname()[1]), print)
