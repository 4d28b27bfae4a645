# SPDX-License-Identifier: Apache-2.0
"""A server with its round open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fedpac_me.federation.server_round import RoundServer

from .contributions import ROUND, model


@pytest.fixture
def server() -> Callable[..., RoundServer]:
    """Makes a server with the round open on ``model()``."""

    def make(**options: Any) -> RoundServer:
        made = RoundServer(**options)
        assert made.begin(ROUND, model()) == ""
        return made

    return make
