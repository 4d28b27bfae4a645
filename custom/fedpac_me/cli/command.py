# SPDX-License-Identifier: Apache-2.0
"""How every command of ``fedpac-me`` describes itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def add_command(
    commands, name: str, run: Callable[[argparse.Namespace], int | None], summary: str, example: str
) -> argparse.ArgumentParser:
    """The parser of one command, to add arguments to; ``run`` does what they ask for."""
    parser = commands.add_parser(
        name, help=summary, description=summary.capitalize() + ".", epilog=f"Example: {example}"
    )
    parser.set_defaults(run=run)
    return parser
