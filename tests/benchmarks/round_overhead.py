# SPDX-License-Identifier: Apache-2.0
"""A federated round through our Executor and Aggregator against FLARE's stock aggregator and an idle executor.

Four clients, 4.7 M parameters, the FLARE simulator. Counted is the time of a round outside the sites' own work:
round duration by the server's clock minus the longest time a site spent in training (zero for the idle executor).
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
CLIENTS = 4
ROUNDS = 8
_STAMP = re.compile(r"^(\S+ \S+) - ScatterAndGather .*Round (\d+) (started|finished)")


def measure(phantom: Path, folder: Path) -> list[str]:
    """Rows of the table; runs two simulations below ``folder``."""
    ours, theirs = _our_run(phantom, folder), _stock_run(folder)
    ledger = json.loads(next(ours.rglob("ledger.json")).read_text())["rounds"]
    working = [max(line["seconds"] for line in entry["accepted"]) for entry in ledger]
    our_seconds = statistics.median(t - w for t, w in list(zip(_round_seconds(ours), working, strict=True))[1:])
    stock_seconds = statistics.median(_round_seconds(theirs)[1:])
    mean = {key: statistics.mean(entry[key] for entry in ledger) / 1e6 for key in ("bytes_up", "bytes_down")}
    return [
        f"| round outside training, 4 clients, 4.7 M parameters (s) | {our_seconds:.2f} | {stock_seconds:.2f} "
        f"| {our_seconds / stock_seconds:.2f} | ≤ 1.25 |",
        f"| payload of a round: up, down (MB) | {mean['bytes_up']:.1f}, {mean['bytes_down']:.1f} | the same | | |",
    ]


def _our_run(phantom: Path, folder: Path) -> Path:
    config = folder / "overhead.json"
    content = {
        "method": "overhead",
        "title": "One step a round, to time the rest",
        "model": {"filters": 16, "blocks_down": [1, 2, 2, 4], "blocks_up": [1, 1, 1]},
        "learning": {"steps_per_round": 1, "batch": 1},
        "federation": {"rounds": ROUNDS},
        "evaluation": {"validation_every": 1000},
    }
    config.write_text(json.dumps(content))
    data = folder / "data"
    data.mkdir()
    for number in range(1, CLIENTS + 1):
        (data / f"site-{number}").symlink_to((phantom / f"site-{number}").resolve())
    words = ["--config", config, "--data", data, "--runs", folder, "--name", "ours"]
    subprocess.run([sys.executable, ROOT / "jobs/train.py", *words], check=True, stdout=subprocess.DEVNULL)
    return folder / "ours"


def _stock_run(folder: Path) -> Path:
    """FLARE's own aggregator; in a process of its own, since FLARE's job tracing looks at the main module."""
    environment = {**os.environ, "PYTHONPATH": str(HERE / "stock")}
    script = [sys.executable, HERE / "stock" / "run_stock.py", folder, str(CLIENTS), str(ROUNDS)]
    subprocess.run(script, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / "stock"


def _round_seconds(run: Path) -> list[float]:
    times = round_times(run / "server/log.txt")
    return [times[r, "finished"] - times[r, "started"] for r in range(ROUNDS)]


def round_times(log: Path) -> dict[tuple[int, str], float]:
    """When (seconds since the epoch) each round ``started`` and ``finished``, by the server's log."""
    times: dict[tuple[int, str], float] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        if found := _STAMP.match(line):
            times[int(found[2]), found[3]] = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S,%f").timestamp()
    return times
