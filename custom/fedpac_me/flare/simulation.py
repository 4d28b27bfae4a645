# SPDX-License-Identifier: Apache-2.0
"""One run in the FLARE simulator: real server, real client processes, one machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path

from nvflare.recipe.sim_env import SimEnv
from nvflare.recipe.spec import Recipe

from fedpac_me.config import Config
from fedpac_me.data.pooling import site_folders, write_pooled_root
from fedpac_me.data.site import DATA_VARIABLE
from fedpac_me.errors import InputError
from fedpac_me.flare.kits import allow_installed_package
from fedpac_me.flare.lost_site import LostSiteWatch
from fedpac_me.flare.recipe import FedPacMeRecipe
from fedpac_me.flare.site_context import EARLIER_RUN_VARIABLE, STATES_FOLDER


class SimulationFailed(RuntimeError):
    """The simulator ended without finishing the job."""


class SiteLost(SimulationFailed):
    """The simulator lost a site that the job waits for."""


def simulate(
    config: Config,
    name: str,
    runs: Path,
    data: Path,
    threads: int | None,
    log_config: Path,
    installed: bool = False,
    resume: Path | None = None,
    mlflow: str | None = None,
) -> Path:
    """Run ``config`` on the sites below ``data``; returns the run's folder ``runs/name``.

    Args:
        installed: the job carries no code, as at sites that have the package installed.
        resume: the file of the ``RunState`` to go on from, below the folder of the run that left it.
        mlflow: see ``FedPacMeRecipe``.

    Raises:
        InputError: a path has a space.
        SimulationFailed: the simulator gave up, or lost a site twice.
    """
    # Where a round has a time limit the others go on without a lost site, and nobody needs to watch.
    watched = not config.federation.round_timeout

    def make_recipe() -> Recipe:
        if installed:
            allow_installed_package(runs.resolve() / name)
        return FedPacMeRecipe(config, name, installed, resume, mlflow)

    with _data_root(config, data) as root, _earlier_run(resume):
        return simulate_recipe(make_recipe, name, runs, root, threads, log_config, watched)


def simulate_recipe(
    make_recipe: Callable[[], Recipe],
    name: str,
    runs: Path,
    root: Path,
    threads: int | None,
    log_config: Path,
    watched: bool = True,
) -> Path:
    """Run a recipe on the sites below ``root``, one folder each; returns the run's folder ``runs/name``.

    ``watched``: start again, once, where the simulator loses a site that the job would wait for.

    Raises:
        InputError: a path has a space.
        SimulationFailed: the simulator gave up, or lost a site twice.
    """
    require_no_space(runs / name, log_config)
    sites = [folder.name for folder in site_folders(root)]
    environment = partial(
        SimEnv,
        clients=sites,
        num_threads=threads or len(sites),
        workspace_root=str(runs.resolve()),
        log_config=str(log_config.resolve()),
    )
    run = runs.resolve() / name
    with _environment(DATA_VARIABLE, str(root.resolve())):
        try:
            _run_once(make_recipe(), environment(), run / "server", watched)
        except SiteLost:
            print(
                "The simulator has lost a site's process and would wait for it for ever: starting again ...", flush=True
            )
            shutil.rmtree(run)
            _run_once(make_recipe(), environment(), run / "server", watched)
    return runs / name


def _run_once(recipe: Recipe, environment: SimEnv, server: Path, watched: bool) -> None:
    with LostSiteWatch(server / "error_log.txt") if watched else nullcontext() as watch:
        try:
            recipe.run(environment)
        except RuntimeError:
            raise (SiteLost if watch is not None and watch.lost else SimulationFailed)(_why(server)) from None


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


def _earlier_run(state: Path | None) -> AbstractContextManager:
    """Tells the sites in which run's folder, that of ``state``, their own states lie."""
    folders = state.resolve().parents[:4] if state is not None else ()
    found = [folder for folder in folders if any(folder.glob(f"*/{STATES_FOLDER}"))]
    return _environment(EARLIER_RUN_VARIABLE, str(found[0])) if found else nullcontext()


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
