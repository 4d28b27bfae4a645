# SPDX-License-Identifier: Apache-2.0
"""Where a job can run: FLARE's simulator, a POC federation, provisioned kits. Each runs the same job folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from fedpac_me.data.site import DATA_VARIABLE
from fedpac_me.federation.ledger import Ledger, RoundRecord
from fedpac_me.flare.coordinator import coordinator, fetch, follow, submit
from fedpac_me.flare.local_federation import LocalFederation
from fedpac_me.flare.lost_site import LostSiteWatch
from fedpac_me.flare.poc import start_poc
from fedpac_me.flare.provisioned import provision, rehearse
from fedpac_me.storage import read_json
from poc_tools import free_port

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT / "poc/project.yml"
SIMULATOR = "nvflare.private.fed.app.simulator.simulator"
_POLL_SECONDS = 2.0


def say(line: str) -> None:
    """Tell what is being done."""
    print(f"  {line}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Finished:
    """A job that ran.

    ``submitted``: seconds since the epoch; ``server``: its folder there; ``sites``: the folder that holds the sites';
    ``port``: the server's, ``None`` where FLARE chose it; ``admin_ports``: of the session that submitted it.
    """

    submitted: float
    server: Path
    sites: Path
    job_id: str
    port: int | None = None
    admin_ports: tuple[int, ...] = ()

    @property
    def rounds(self) -> tuple[RoundRecord, ...]:
        """The ledger's."""
        return Ledger.from_json(read_json(self.server / "fedpac_me/ledger.json")).rounds

    def at_sites(self, name: str) -> list[Path]:
        """The files of that name in the sites' folders of this job."""
        return [path for path in self.sites.rglob(name) if self.job_id in path.parts]


Run = Callable[[Path], Finished]


@contextmanager
def simulator(folder: Path, data: Path, sites: int) -> Iterator[Run]:
    """FLARE's simulator, a process a site."""
    yield lambda job: run_simulator(job, folder, data, sites, processes=sites)


def run_simulator(job: Path, folder: Path, data: Path, sites: int, processes: int) -> Finished:
    """Run a job in FLARE's simulator, whose sites take turns where there are fewer ``processes``.

    It is started again, as often as needed, where it loses a site to a port that another one took (``lost_site``).

    Raises:
        RuntimeError: the simulator failed.
    """
    environment = {**os.environ, DATA_VARIABLE: str(data.resolve())}
    while True:
        workspace = Path(tempfile.mkdtemp(prefix=f"{job.name}-", dir=folder))
        words = [sys.executable, "-m", SIMULATOR, job, "-w", workspace, "-n", sites, "-t", processes]
        submitted = time.time()
        with (
            LostSiteWatch(workspace / "server/error_log.txt") as watch,
            open(workspace / "printed.txt", "w+", encoding="utf-8") as printed,
        ):
            done = subprocess.run([*map(str, words)], env=environment, stdout=printed, stderr=subprocess.STDOUT)
        if not watch.lost:
            break
        say("the simulator has lost a site's process: starting again")
    if done.returncode:
        raise RuntimeError(
            f"The simulator exited with {done.returncode}; {workspace / 'printed.txt'} holds what it printed."
        )
    return Finished(submitted, workspace / "server/simulate_job", workspace, "simulate_job")


@contextmanager
def poc(folder: Path, data: Path, sites: int) -> Iterator[Run]:
    """``poc/up.sh``: FLARE's POC mode, processes of their own."""
    federation = LocalFederation(folder / "poc")
    start_poc(federation, TEMPLATE, data, sites, free_port())
    with stopped(federation):
        yield lambda job: run_in(federation, job, folder)


@contextmanager
def provisioned(folder: Path, data: Path, sites: int) -> Iterator[Run]:
    """``poc/provision.sh`` and ``poc/rehearse.sh``: kits as they go to hospitals, mutual TLS."""
    federation = LocalFederation(folder / "provisioned")
    provision(federation, TEMPLATE, data, sites, free_port())
    rehearse(federation, lambda line: None)
    with stopped(federation):
        yield lambda job: run_in(federation, job, folder)


ENVIRONMENTS: dict[str, Callable[[Path, Path, int], AbstractContextManager[Run]]] = {
    "simulator": simulator,
    "POC": poc,
    "provisioned, mTLS": provisioned,
}


def run_in(federation: LocalFederation, job: Path, folder: Path, watched: bool = False) -> Finished:
    """Submit a job to a running federation, wait for its end, fetch it into ``folder``.

    ``watched``: read the job's log all the time, as ``poc/watch.sh`` does.
    """
    with coordinator(federation.admin_kit) as session:
        submitted = time.time()
        job_id = submit(session, job)
        if not watched:
            session.monitor_job_and_return_job_meta(job_id, poll_interval=_POLL_SECONDS)
        follow(session, job_id, lambda line: None)
        own = tuple(connection.laddr.port for connection in psutil.Process().net_connections("tcp"))
        fetched = fetch(session, job_id, folder / "fetched")
    return Finished(submitted, fetched / "workspace", federation.kits, job_id, federation.port, own)


@contextmanager
def stopped(federation: LocalFederation) -> Iterator[None]:
    """Whatever happens inside, nothing is left running."""
    try:
        yield
    finally:
        federation.down()
