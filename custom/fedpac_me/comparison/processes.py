# SPDX-License-Identifier: Apache-2.0
"""Runs side by side, each in a process of its own: one that fails, or is killed, takes no other with it."""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from fedpac_me.comparison.run import Task, execute
from fedpac_me.errors import InputError
from fedpac_me.federation.progress import duration
from fedpac_me.learning.trainer import TrainingFailed

_ROUND, _DONE, _FAILED = "round", "done", "failed"
_QUIET_SECONDS = 30
"""While nothing ends, somebody who waits is told this often how far it is."""


@dataclass
class _Running:
    task: Task
    process: BaseProcess
    rounds: int = 0
    failure: str | None = None
    done: bool = False
    began: float = field(default_factory=time.monotonic)


def run_all(tasks: Sequence[Task], jobs: int, tell: Callable[[str], None]) -> dict[str, str]:
    """Do every task, at most ``jobs`` at a time.

    The bytes of a result do not depend on ``jobs``: each process computes with its configuration's own number of
    threads, and shares with others only prepared scans.

    Returns:
        Why the runs that failed did, in a sentence, by the name of their folder.
    """
    return _Pool(tasks, jobs, tell).work()


class _Pool:
    def __init__(self, tasks: Sequence[Task], jobs: int, tell: Callable[[str], None]) -> None:
        self._waiting = list(tasks)
        self._jobs = jobs
        self._tell = tell
        self._running: dict[Connection, _Running] = {}
        self._failures: dict[str, str] = {}
        self._total = len(tasks)
        self._rounds_left = sum(task.rounds for task in tasks)
        self._rounds_done = 0
        self._start = self._told = time.monotonic()

    def work(self) -> dict[str, str]:
        try:
            while self._waiting or self._running:
                while self._waiting and len(self._running) < self._jobs:
                    self._begin(self._waiting.pop(0))
                for pipe in wait(list(self._running), timeout=_QUIET_SECONDS):
                    self._hear(pipe)
                if time.monotonic() - self._told > _QUIET_SECONDS:
                    at_work = (f"{one.task.title} ({one.rounds}/{one.task.rounds})" for one in self._running.values())
                    self._say(f"at work: {'; '.join(at_work)}")
        finally:
            for one in self._running.values():
                one.process.terminate()
                one.process.join()
        return self._failures

    def _begin(self, task: Task) -> None:
        # Spawned, not forked: torch's threads do not survive a fork.
        context = get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(task, theirs), daemon=True)
        process.start()
        theirs.close()  # or the end of the process would not be heard
        self._running[ours] = _Running(task, process)

    def _hear(self, pipe: Connection) -> None:
        one = self._running[pipe]
        try:
            what, text = pipe.recv()
        except EOFError:
            self._end(pipe, one)
            return
        if what == _ROUND:
            one.rounds += 1
            self._rounds_done += 1
        elif what == _DONE:
            one.done = True
        else:
            one.failure = text

    def _end(self, pipe: Connection, one: _Running) -> None:
        one.process.join()
        pipe.close()
        del self._running[pipe]
        if one.failure is None and not one.done:
            one.failure = _how_it_ended(one.process.exitcode)
        self._rounds_left -= one.task.rounds - one.rounds if one.failure else 0
        if one.failure is None:
            self._say(f"{one.task.title}: done in {duration(time.monotonic() - one.began)}")
        else:
            self._failures[one.task.folder.name] = one.failure
            self._say(f"{one.task.title}: failed. {one.failure}")

    def _say(self, words: str) -> None:
        self._told = time.monotonic()
        ended = self._total - len(self._waiting) - len(self._running)
        left = (self._rounds_left - self._rounds_done) * (self._told - self._start) / max(self._rounds_done, 1)
        known = 0 < self._rounds_done < self._rounds_left  # after the last round there is still the evaluation
        self._tell(f"[{ended}/{self._total}] {words}" + (f"; about {duration(left)} left" if known else ""))


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"Its process was ended by signal {-code}; 9 often means that memory ran out: try a smaller --jobs."
    return f"Its process ended with code {code} and said nothing."


def _work(task: Task, pipe: Connection) -> None:
    """What the process of a run does. Ctrl-C is the parent's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        execute(task, lambda line: pipe.send((_ROUND, line)))
        answer: tuple[str, Any] = (_DONE, None)
    except (InputError, TrainingFailed) as error:
        answer = (_FAILED, str(error))
    except Exception as error:
        traceback.print_exc()  # for whoever mends it; the sentence is for whoever waits
        answer = (_FAILED, f"{type(error).__name__}: {error}")
    pipe.send(answer)
    pipe.close()
