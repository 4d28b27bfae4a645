# SPDX-License-Identifier: Apache-2.0
"""Waiting until a federation on this machine is there."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable
from contextlib import redirect_stdout

from nvflare.tool.api_utils import SystemStartTimeout, wait_for_system_start

from fedpac_me.flare.local_federation import FederationFailed, LocalFederation
from fedpac_me.flare.processes import gone_within, holder_of

_READY_SECONDS = 180.0
_LOOK_EVERY_SECONDS = 0.5
_CONNECT_SECONDS = 60.0


def wait_until_ready(federation: LocalFederation, sites: Iterable[str]) -> None:
    """Return when the server answers and ``sites`` have joined it.

    FLARE's own waiting opens session after session for a second each. One that is closed while it connects can hang
    for ever (FLARE 2.9.0, ``ConnManager.stop``), so none is opened before the server listens, nor given up early.

    Raises:
        FederationFailed: they were not there in time, or ended.
    """
    _wait_until_listening(federation)
    expected = list(sites)
    try:
        with redirect_stdout(io.StringIO()):  # it counts the sites at every look
            wait_for_system_start(
                len(expected),
                str(federation.kits),
                username=federation.admin_kit.name,
                secure_mode=True,
                second_to_wait=0,
                timeout_in_sec=round(_READY_SECONDS),
                poll_interval=1.0,
                conn_timeout=_CONNECT_SECONDS,
                expected_clients=expected,
            )
    except SystemStartTimeout as error:
        raise FederationFailed(f"{error}. Each kit below {federation.kits} has a log.txt.") from None


def _wait_until_listening(federation: LocalFederation) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    started = False
    while holder_of(federation.port) is None:
        gone = gone_within(federation.workspace, _LOOK_EVERY_SECONDS)
        if (started and gone) or time.monotonic() > deadline:
            what = "ended before it listened" if started and gone else f"did not listen within {_READY_SECONDS:.0f} s"
            raise FederationFailed(
                f"The server {what} at port {federation.port}. {federation.kits / 'server'} holds its log.txt."
            )
        started = started or not gone
