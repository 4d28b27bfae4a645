# SPDX-License-Identifier: Apache-2.0
"""Two runs of two rounds of the demo with one seed, and one with another: are the models the same bytes?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fedpac_me.storage import read_json

ROOT = Path(__file__).parents[2]


def measure(phantom: Path, folder: Path) -> list[str]:
    """Sentences with the hashes."""
    first, again, other = (_hash(phantom, folder, name, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    same = "identical" if first == again else "DIFFERENT"
    differs = "differs" if other != first else "IS THE SAME"
    return [f"Seed 0 twice: {same} (`{first[:16]}`, `{again[:16]}`). Seed 1: {differs} (`{other[:16]}`)."]


def _hash(phantom: Path, folder: Path, name: str, seed: int) -> str:
    words = ["--config", ROOT / "app_configs/fedavg.json", "--data", phantom, "--rounds", 2, "--seed", seed]
    command = [sys.executable, ROOT / "jobs/train.py", *words, "--runs", folder, "--name", name]
    subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)
    return read_json(folder / name / "run.json")["model_hash"]
