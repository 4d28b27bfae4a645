# SPDX-License-Identifier: Apache-2.0
"""Which runs a comparison consists of, and which of them are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fedpac_me.comparison.datasets import NOT_WRITTEN, DataSet
from fedpac_me.comparison.identity import digest, run_code
from fedpac_me.comparison.methods import Method, compute_of
from fedpac_me.config import Config
from fedpac_me.errors import InputError
from fedpac_me.hardware import machine
from fedpac_me.storage import read_json

RUNS = "runs"
IDENTITY_FILE = "identity.json"
_PARTS = {
    "config": "another configuration",
    "data": "other data",
    "code": "other code",
    "accelerator": "another accelerator",
}


@dataclass(frozen=True)
class PlannedRun:
    """One method with one training seed on one data set; ``out`` is the comparison's folder."""

    method: Method
    data: DataSet
    seed: int
    out: Path

    @cached_property
    def config(self) -> Config:
        """The configuration with its seed."""
        return self.method.with_seed(self.seed)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the result follows from; a run with another identity is another run."""
        return {
            "config": self.config.hash,
            "data": self.data.hash,
            "code": run_code(),
            "accelerator": machine()["accelerator"],  # by which precision "auto", and so every figure, differs
        }

    @property
    def title(self) -> str:
        """The run in words."""
        return f"{self.method.name}, {self.data.name}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Where it is kept; there as soon as it is complete."""
        return self.out / RUNS / f"{self._prefix}{digest(self.identity)}"

    @property
    def done(self) -> bool:
        """Whether it is there."""
        return (self.folder / IDENTITY_FILE).is_file()

    @property
    def stale(self) -> list[tuple[Path, str]]:
        """Folders of the same method, data set and seed that cannot stand for this run, and what differs."""
        if self.data.hash == NOT_WRITTEN:
            return []
        others = sorted((self.out / RUNS).glob(f"{self._prefix}*/{IDENTITY_FILE}"))
        return [(path.parent, self._difference(path)) for path in others if path.parent != self.folder]

    @property
    def _prefix(self) -> str:
        return f"{self.method.name}-{self.data.name}-seed-{self.seed}-"

    def _difference(self, path: Path) -> str:
        try:
            theirs = read_json(path)
            differs = [words for part, words in _PARTS.items() if theirs[part] != self.identity[part]]
            return f"it was made with {' and '.join(differs)}"
        except (OSError, ValueError, KeyError, TypeError):
            return f"its {IDENTITY_FILE} cannot be read"


def plan_runs(methods: Sequence[Method], data: Sequence[DataSet], seeds: Sequence[int], out: Path) -> list[PlannedRun]:
    """Every run, all methods of one seed and data set together, so that what is done first can be compared first.

    Raises:
        InputError: a seed twice.
    """
    if len(set(seeds)) < len(seeds):
        raise InputError("Each seed may be named once in --seeds.")
    return [PlannedRun(method, one, seed, out) for seed in seeds for one in data for method in methods]


def plan_text(runs: Sequence[PlannedRun]) -> str:
    """What would be done, for a person: cases of each site, compute of each method, runs."""
    lines = []
    for data in {run.data.name: run.data for run in runs}.values():
        cases = sum(site[part] for site in data.sites.values() for part in ("train", "validation", "test"))
        lines.append(f"{data.name}: {cases} cases of {len(data.sites)} sites (data {data.hash})")
        width = max(map(len, data.sites))
        lines.append(f"  {'site'.ljust(width)}  role      train  validation  test")
        for name, site in data.sites.items():
            numbers = f"{site['train']:5}  {site['validation']:10}  {site['test']:4}"
            lines.append(f"  {name.ljust(width)}  {site['role']:8}  {numbers}")
        for method in {run.method.name: run.method for run in runs}.values():
            lines.append(f"  {method.name}: {compute_of(method.config, data.training_sites).sentence}")
    lines += [_run_line(run) for run in runs]
    return "\n".join([*lines, *stale_lines(runs), _count_line(runs)])


def stale_lines(runs: Sequence[PlannedRun]) -> list[str]:
    """A sentence for every kept run that is of no use any more."""
    return [
        f"Not reused: {path.name}, since {reason}. Delete it when it is not wanted."
        for run in runs
        if not run.done
        for path, reason in run.stale
    ]


def _run_line(run: PlannedRun) -> str:
    """Where it is or will be kept, too, once that follows from what the data holds."""
    folder = "" if run.data.hash == NOT_WRITTEN else f"  {run.folder.name}"
    return f"{'done ' if run.done else 'to do'}  {run.title}{folder}"


def _count_line(runs: Sequence[PlannedRun]) -> str:
    done = sum(run.done for run in runs)
    return f"{len(runs)} runs, {done} done, {len(runs) - done} to do."
