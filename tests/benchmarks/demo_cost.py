# SPDX-License-Identifier: Apache-2.0
"""What the demo costs: seconds of the whole runs, and the largest memory of all processes together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil

from fedpac_me.storage import read_json

ROOT = Path(__file__).parents[2]
SAMPLE_SECONDS = 2.0


def measure(phantom: Path, folder: Path) -> list[str]:
    """Two sentences. The seconds are those of the runs that ``demo_table`` keeps."""
    runs = sorted((ROOT / "runs").glob("spine-fedavg-*/run.json"))
    seconds = ", ".join(f"{read_json(path)['seconds_total']:.0f} s" for path in runs)
    peak = _peak(phantom, folder) / 2**30
    return [
        f"Whole federated runs of the demo's size, without writing the phantom: {seconds or 'none yet'} (≤ 300 s).",
        f"Memory of all processes together, in the demo's first three rounds and the evaluation: {peak:.2f} GiB (≤ 6).",
    ]


def _peak(phantom: Path, folder: Path) -> int:
    """Bytes. The sum of proportional set sizes, so that shared pages count once."""
    words = ["--config", ROOT / "app_configs/fedpac_me.json", "--data", phantom, "--rounds", 3, "--runs", folder]
    command = [sys.executable, ROOT / "jobs/train.py", *words, "--name", "demo"]
    demo = psutil.Popen([*map(str, command)], stdout=subprocess.DEVNULL)
    peak = 0
    while True:
        try:
            code = demo.wait(timeout=SAMPLE_SECONDS)
            break
        except psutil.TimeoutExpired:
            peak = max(peak, _memory(demo))
    if code:
        raise RuntimeError(f"the demo exited with {code}")
    return peak


def _memory(process: psutil.Process) -> int:
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:
            continue  # it ended while being looked at
    return total
