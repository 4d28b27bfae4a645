# SPDX-License-Identifier: Apache-2.0
"""What the demo costs: seconds, and the largest memory of all its processes together."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
SAMPLE_SECONDS = 2.0


def measure(phantom: Path, folder: Path) -> list[str]:
    """One sentence. Memory is the sum of proportional set sizes, so that shared pages count once."""
    words = ["--config", ROOT / "app_configs/fedavg.json", "--data", phantom, "--runs", folder, "--name", "demo"]
    start = time.monotonic()
    demo = psutil.Popen([sys.executable, str(ROOT / "jobs/train.py"), *map(str, words)], stdout=subprocess.DEVNULL)
    peak = 0
    while True:
        try:
            code = demo.wait(timeout=SAMPLE_SECONDS)
            break
        except psutil.TimeoutExpired:
            peak = max(peak, _memory(demo))
    if code:
        raise RuntimeError(f"the demo exited with {code}")
    seconds = time.monotonic() - start
    return [f"One demo on written phantoms: {seconds:.0f} s (≤ 300), {peak / 2**30:.2f} GiB at most (≤ 6)."]


def _memory(process: psutil.Process) -> int:
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:
            continue  # it ended while being looked at
    return total


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        print(*measure(ROOT / "data/phantom", Path(place)))
