# SPDX-License-Identifier: Apache-2.0
"""Inspecting many cases on all cores. What one of them does to its process is a finding of that case alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context

from fedpac_me.data.findings import CaseReport
from fedpac_me.data.layouts import Case

Inspect = Callable[[Case, int, str], CaseReport]
"""From a case, how many modalities it may lack, and its name in the findings."""


@dataclass(frozen=True)
class Task:
    """One case to inspect; ``name`` is what the findings call it."""

    name: str
    case: Case
    max_missing: int


def inspect_cases(tasks: Sequence[Task], inspect: Inspect, workers: int) -> Iterator[tuple[int, CaseReport]]:
    """The number of each task and its report, as they come. ``inspect`` must be importable: processes run it.

    One worker means this process. Processes and not threads: an image whose reading takes the memory away, or brings
    nibabel down, takes one process with it.
    """
    if workers == 1:
        yield from ((number, _guarded(inspect, task)) for number, task in enumerate(tasks))
        return
    left = dict(enumerate(tasks))
    while left:
        for number, report in _together(left, inspect, workers):
            del left[number]
            yield number, report
        # Some are left only when a process died, and all with it. Tasks start in order: it was one of the first.
        for number in list(left)[:workers]:
            yield number, _alone(inspect, left.pop(number))


def _together(tasks: dict[int, Task], inspect: Inspect, workers: int) -> Iterator[tuple[int, CaseReport]]:
    futures: dict[Future[CaseReport], int] = {}
    with _processes(min(workers, len(tasks))) as pool:
        try:
            for number, task in tasks.items():
                futures[pool.submit(_guarded, inspect, task)] = number
        except BrokenProcessPool:
            pass  # those not submitted are left over like those lost
        for future in as_completed(futures):
            if not isinstance(future.exception(), BrokenProcessPool):
                yield futures[future], future.result()


def _alone(inspect: Inspect, task: Task) -> CaseReport:
    with _processes(1) as pool:
        try:
            return pool.submit(_guarded, inspect, task).result()
        except BrokenProcessPool:
            return _crashed(task, "The process that read the case died, as it does when memory runs out")


@contextmanager
def _processes(count: int) -> Iterator[ProcessPoolExecutor]:
    # Spawned, not forked: the caller may hold threads.
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)  # an interrupted check does not read on


def _guarded(inspect: Inspect, task: Task) -> CaseReport:
    try:
        return inspect(task.case, task.max_missing, task.name)
    except Exception as error:  # whatever it is, the other cases are to be read
        return _crashed(task, f"Reading the case ended in {type(error).__name__}: {error}")


def _crashed(task: Task, what: str) -> CaseReport:
    report = CaseReport(task.name)
    report.add(
        "error", "check-crashed", f"{what}. Check the case's folder alone, with --workers 1, or replace its files."
    )
    return report
