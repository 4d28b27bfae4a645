# SPDX-License-Identifier: Apache-2.0
"""What the commands of ``jobs/`` share: their options, and how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from fedpac_me.errors import exit_code


def add_job_arguments(parser: argparse.ArgumentParser) -> None:
    """Where a job's sites come from, where it runs, or where it is written instead."""
    parser.add_argument(
        "--splits", type=Path, help="a file of `fedpac-me split`: its sites instead of one folder a hospital"
    )
    parser.add_argument("--threads", type=int, help="sites that compute at the same time (default: all)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run folders go (default: runs)")
    parser.add_argument("--replace", action="store_true", help="delete a run of the same name first")
    parser.add_argument("--export", action="store_true", help="write the job folder instead of running it")
    parser.add_argument(
        "--export-dir", type=Path, default=Path("build/jobs"), help="where --export writes (default: build/jobs)"
    )


def run_job(act: Callable[[], None]) -> int:
    """0: done. 1: the run failed. 2: bad input. The arguments must have been parsed."""
    # Importing nvflare.recipe strips --export from sys.argv and warns about it.
    sys.argv[1:] = []
    from fedpac_me.flare.simulation import SimulationFailed

    return exit_code(act, (SimulationFailed,))
