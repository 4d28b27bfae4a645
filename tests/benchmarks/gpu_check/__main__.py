# SPDX-License-Identifier: Apache-2.0
"""Every figure of docs/results/gpu.md; says that it is skipped where there is no CUDA.

make gpu-check
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from gpu_check import page
from gpu_check.figure import Figure
from gpu_check.perspectives import perspectives
from gpu_check.setting import Setting
from gpu_check.training import memory, rate, same_seed_twice, step
from gpu_check.volume import volume
from gpu_check.waiting import waiting

OUT = Path(__file__).parents[3] / "docs/results"
PARTS: dict[str, Callable[[Setting], Iterator[Figure]]] = {
    "A step": step,
    "Samples a second": rate,
    "Waiting for data": waiting,
    "Memory": memory,
    "A whole scan": volume,
    "Perspectives on both devices": perspectives,
    "Same seed twice": same_seed_twice,
}


def main() -> int:
    """Measure and write the page: 0 when every target is met or there is no CUDA, else 1."""
    if not torch.cuda.is_available():
        print("gpu-check is skipped: torch finds no CUDA device on this machine, and a CPU says nothing of one.")
        return 0
    # cuBLAS reads it when it starts; without it its sums have no fixed order.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return check(Setting(torch.device("cuda")), OUT)


def check(setting: Setting, folder: Path) -> int:
    """Measure every part, write the page into ``folder``, print what missed its target; 1 if anything did."""
    found = {}
    for title, part in PARTS.items():
        print(f"Measuring: {title} ...", file=sys.stderr, flush=True)
        found[title] = list(part(setting))
    print(f"Written: {page.write(folder, found)}")
    missed = [figure.row() for figures in found.values() for figure in figures if figure.met is False]
    print("\n".join(["Missed:", *missed]) if missed else "Every target is met.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
