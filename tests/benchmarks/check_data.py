# SPDX-License-Identifier: Apache-2.0
"""How long ``fedpac-me check-data`` takes for as many full-size cases as BraTS2020 has.

python tests/benchmarks/check_data.py            about two minutes

Seconds are of the fastest of a few turns: other work on the machine only ever adds. Where other work keeps the
processors, more processes are no faster; a case's processor time then says what a free machine would do.
"""

from __future__ import annotations

import resource
import tempfile
from pathlib import Path

from fedpac_me.data.check_data import check_data
from full_size_cases import write_full_size_cases

BRATS2020_CASES = 369
DRAWN, COPIES = 3, 10
REPEATS = 2
HEAD = "| files | processes | s a case | processor s a case | cases a s | 369 cases (min) |\n|---|---|---|---|---|---|"


def measure(folder: Path) -> list[str]:
    """Rows of the table; ``folder`` is filled with cases."""
    rows = []
    for ending in (".nii.gz", ".nii"):
        cases = folder / ending[1:].replace(".", "_")
        # Each under several names: enough of them for the start of the processes not to count.
        write_full_size_cases(cases, DRAWN, COPIES, ending)
        for workers in (1, 2):
            seconds, busy = min(_turn(cases, workers) for _ in range(REPEATS))
            minutes = BRATS2020_CASES * seconds / 60
            rows.append(f"| `{ending}` | {workers} | {seconds:.2f} | {busy:.2f} | {1 / seconds:.2f} | {minutes:.1f} |")
    return rows


def _turn(cases: Path, workers: int) -> tuple[float, float]:
    """Seconds a case, by the clock and of all processors together."""
    before = _processor_seconds()
    report = check_data(cases, workers=workers)
    return report.seconds / report.cases, (_processor_seconds() - before) / report.cases


def _processor_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="fedpac_me_bench_") as scratch:
        print(HEAD, *measure(Path(scratch)), sep="\n")
