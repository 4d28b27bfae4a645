# SPDX-License-Identifier: Apache-2.0
"""The configuration that a job carries."""

from __future__ import annotations

from pathlib import Path

from fedpac_me.config import Config, parse_config
from fedpac_me.errors import InputError
from fedpac_me.storage import read_json

SERVER_FILE = "config_fed_server.json"
PERSISTOR = "persistor"
"""The component of the server's whose arguments hold the whole config."""


def config_of_job(server_file: Path) -> Config | None:
    """What the job whose ``SERVER_FILE`` this is trains; ``None`` where it trains nothing, as for data statistics.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        components = read_json(server_file).get("components", [])
        found = [part["args"]["config"] for part in components if part.get("id") == PERSISTOR]
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{server_file} cannot be read: {error!r}. Name a job that jobs/train.py wrote.") from None
    return parse_config(found[0], str(server_file)) if found else None
