# SPDX-License-Identifier: Apache-2.0
"""A comparison from its request to its page: plan, run what is missing, write what the runs say."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedpac_me.comparison.datasets import USUAL_SIZE, DataSet, Phantom, opened
from fedpac_me.comparison.methods import Method, load_methods
from fedpac_me.comparison.plan import RUNS, PlannedRun, plan_runs, plan_text, stale_lines
from fedpac_me.comparison.processes import run_all
from fedpac_me.comparison.run import Task, remove_leftovers
from fedpac_me.comparison.write import HTML_NAME, text_table, write_comparison
from fedpac_me.data.checks import check_root
from fedpac_me.data.phantom.kinds import DEMO, kind_named
from fedpac_me.errors import InputError

DEFAULT_REFERENCE = "fedpac_me"
_LOCK = ".lock"
_SCANS = ".scans"
"""Prepared scans of all runs, which are images of patients: deleted when the command ends."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What is asked for; see ``fedpac-me compare --help``. Without ``data`` the phantoms are compared on."""

    methods: Sequence[str]
    out: Path
    jobs: int
    seeds: Sequence[int] = (0, 1, 2)
    data: Sequence[Path] = ()
    phantom_seeds: Sequence[int] = (0, 1)
    phantom_size: int = USUAL_SIZE
    phantom_kinds: Sequence[str] = (DEMO,)
    rounds: int | None = None
    budget: float | None = None
    train_cases: int | None = None
    reference: str | None = None

    @property
    def phantoms(self) -> list[Phantom]:
        """Those that are compared on. Raises ``InputError`` when a kind is unknown."""
        if self.data:
            return []
        places = [(kind, seed) for kind in self.phantom_kinds for seed in self.phantom_seeds]
        return [Phantom(self.out, seed, self.phantom_size, kind_named(kind).name) for kind, seed in places]

    @property
    def sources(self) -> list[Path]:
        """Where the data sets are, or will be."""
        return [*self.data, *(phantom.folder for phantom in self.phantoms)]


def dry_run(request: Request) -> str:
    """Which runs there would be, with the cases of each site; nothing is trained or written. Raises ``InputError``."""
    methods = load_methods(request.methods, request.rounds, request.budget)
    _reference(request, methods)
    missing = [phantom for phantom in request.phantoms if not phantom.written]
    there = [source for source in request.sources if source not in [phantom.folder for phantom in missing]]
    with opened(there, request.train_cases) as data:
        expected = [phantom.expected(request.train_cases) for phantom in missing]
        return plan_text(plan_runs(methods, [*data, *expected], request.seeds, request.out))


def compare(request: Request, tell: Tell) -> bool:
    """Run what is missing, write the comparison; whether no run failed.

    Raises:
        InputError: an unknown method, bad data, another comparison at work in the same folder, or no run that ended
            well.
    """
    methods = load_methods(request.methods, request.rounds, request.budget)
    reference = _reference(request, methods)
    with finished_runs(request, methods, tell) as (planned, failures):
        comparison = write_comparison(request.out, planned, failures, reference)
    tell(text_table(comparison))
    tell(f"Comparison: {request.out / HTML_NAME}")
    return not failures


@contextmanager
def finished_runs(
    request: Request, methods: Sequence[Method], tell: Tell
) -> Iterator[tuple[list[PlannedRun], dict[str, str]]]:
    """Every run of ``methods``, the missing ones made first, and by the names of their folders why some failed.

    Nobody else writes to the comparison's folder meanwhile. Raises ``InputError`` as ``compare`` does.
    """
    with _alone(request.out):
        for phantom in request.phantoms:
            phantom.write(tell)
        with opened(request.sources, request.train_cases) as data:
            planned = plan_runs(methods, data, request.seeds, request.out)
            yield planned, _run_missing(planned, request, tell)


def _run_missing(planned: Sequence[PlannedRun], request: Request, tell: Tell) -> dict[str, str]:
    for line in stale_lines(planned):
        tell(line)
    missing = [run for run in planned if not run.done]
    tell(f"{len(planned)} runs, {len(planned) - len(missing)} of them done already.")
    _check({run.data.name: run.data for run in missing}.values(), missing, tell)
    remove_leftovers(request.out / RUNS)
    scans = (request.out / _SCANS).resolve()
    try:
        return run_all([Task.of(run, scans) for run in missing], request.jobs, tell)
    finally:
        shutil.rmtree(scans, ignore_errors=True)
        remove_leftovers(request.out / RUNS)


def _check(data: Sequence[DataSet], runs: Sequence[PlannedRun], tell: Tell) -> None:
    """Read every case once for each way in which some method reads them."""
    for one in data:
        configs = [run.config.data for run in runs if run.data.name == one.name]
        for config in {(config.max_missing_modalities, config.resample): config for config in configs}.values():
            check_root(one.root, config, tell)


def _reference(request: Request, methods: Sequence[Method]) -> str:
    names = [method.name for method in methods]
    if request.reference is None:
        return DEFAULT_REFERENCE if DEFAULT_REFERENCE in names else names[0]
    if request.reference not in names:
        raise InputError(f"--reference {request.reference} is none of the methods compared: {', '.join(names)}.")
    return request.reference


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Nobody else writes to ``out`` meanwhile. The system lets go of the lock of a process that dies."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = open(out / _LOCK, "w")  # noqa: SIM115  closed below
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error}. Name a folder that you may write to in --out.") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"Another comparison is at work in {out}. Wait for it, or name another folder in --out."
            ) from None
        yield
