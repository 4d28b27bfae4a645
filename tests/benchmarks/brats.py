# SPDX-License-Identifier: Apache-2.0
"""Every figure of docs/results/brats.md: what cases of BraTS' size cost to check, prepare, crop and score.

python tests/benchmarks/brats.py            about 10 minutes on 2 cores
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import check_data
import loading
import scoring
from fedpac_me.hardware import machine, versions
from fedpac_me.storage import write_text

OUT = Path(__file__).parents[2] / "docs/results/brats.md"


def main() -> None:
    """Measure, write the page."""
    sections = {
        "`fedpac-me check-data`": lambda folder: [check_data.HEAD, *check_data.measure(folder)],
        "Prepared scans": loading.measure,
        "Scores": lambda folder: [scoring.HEAD, *scoring.measure(folder)],
    }
    write_text(OUT, "\n\n".join([_head(), *(_section(title, measure) for title, measure in sections.items())]) + "\n")
    print(f"Written: {OUT}")


def _section(title: str, measure: Callable[[Path], list[str]]) -> str:
    print(f"Measuring: {title} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="fedpac_me_bench_") as folder:
        return f"## {title}\n\n" + "\n".join(measure(Path(folder)))


def _head() -> str:
    facts = ", ".join(f"{key} {value}" for key, value in {**machine(), **versions()}.items())
    return (
        "# Cases of BraTS' size, measured\n\n"
        f"`python tests/benchmarks/brats.py` wrote this page on {date.today().isoformat()}. Cases are phantoms of "
        f"240×240×155 voxels. Machine and versions: {facts}."
    )


if __name__ == "__main__":
    main()
