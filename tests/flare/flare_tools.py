# SPDX-License-Identifier: Apache-2.0
"""What the tests of this folder share beyond fixtures."""

from __future__ import annotations

import importlib.util
import io
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
SITES = 3
MARK = "PatientZero"
"""In every case's id and path, so that a search shows whether one has left a site."""


@dataclass(frozen=True)
class Command:
    """What a finished process printed."""

    code: int
    out: str
    err: str


def run_command(*words: str | Path, cwd: Path, **environment: str) -> Command:
    """Run a program of this Python's environment to its end."""
    programs = Path(sys.executable).parent
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PWD": str(cwd), **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )
    return Command(done.returncode, done.stdout, done.stderr)


def run_here(main: Callable[[list[str]], int], *words: str | Path, cwd: Path) -> Command:
    """The same in this process, which has imported already what takes a new one seconds.

    What processes below this one print, such as a simulation its rounds, is not in it.
    """
    out, err = io.StringIO(), io.StringIO()
    with chdir(cwd), redirect_stdout(out), redirect_stderr(err):
        code = main([str(word) for word in words])
    return Command(code, out.getvalue(), err.getvalue())


@cache
def program(name: str) -> ModuleType:
    """A file of the project that is run as a program, such as ``jobs/train.py``, imported."""
    path = ROOT / name
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def curves(run: Path) -> dict[str, dict[str, list[int]]]:
    """The steps of every curve in TensorBoard's files, by writer and tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = run.rglob("tb_events")
    writers = {path.name: EventAccumulator(str(path)).Reload() for path in folder.iterdir()}
    return {
        name: {tag: [point.step for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
        for name, events in writers.items()
    }
