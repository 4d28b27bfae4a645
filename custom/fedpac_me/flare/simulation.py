# SPDX-License-Identifier: Apache-2.0
"""One run in the FLARE simulator: real server, real client processes, one machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nvflare.recipe.sim_env import SimEnv

from fedpac_me.config import Config
from fedpac_me.data.pooling import site_folders, write_pooled_root
from fedpac_me.data.site import DATA_VARIABLE
from fedpac_me.errors import InputError
from fedpac_me.flare.recipe import FedPacMeRecipe


class SimulationFailed(RuntimeError):
    """The simulator ended without finishing the job."""


def simulate(config: Config, name: str, runs: Path, data: Path, threads: int | None, log_config: Path) -> Path:
    """Run ``config`` on the sites below ``data``; returns the run's folder ``runs/name``.

    Raises:
        InputError: a path has a space.
        SimulationFailed: the simulator gave up.
    """
    require_no_space(runs / name, log_config)
    workspace = runs.resolve()
    with _data_root(config, data) as root, _environment(DATA_VARIABLE, str(root)):
        sites = [folder.name for folder in site_folders(root)]
        environment = SimEnv(
            clients=sites,
            num_threads=threads or len(sites),
            workspace_root=str(workspace),
            log_config=str(log_config.resolve()),
        )
        try:
            FedPacMeRecipe(config, name).run(environment)
        except RuntimeError:
            raise SimulationFailed(_why(workspace / name / "server")) from None
    return runs / name


def require_no_space(*paths: Path) -> None:
    """Raise ``InputError`` when a path has a space: FLARE's simulator splits its command line at it."""
    for path in paths:
        if " " in str(path.resolve()):
            raise InputError(
                f"The path {path.resolve()} contains a space, which FLARE's simulator cannot handle. "
                "Use a folder without spaces."
            )


def _why(server: Path) -> str:
    """The server's last error, and where to read on."""
    log = server / "error_log.txt"
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    last = lines[-1].rpartition("] - ")[2] if lines else "The FLARE simulator gave up."
    return f"{last} The logs are in {server} and, per site, beside it."


@contextmanager
def _data_root(config: Config, data: Path) -> Iterator[Path]:
    if not config.pooled:
        yield data.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="fedpac_me_pooled_") as folder:
        write_pooled_root(data.resolve(), Path(folder))
        yield Path(folder)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before
