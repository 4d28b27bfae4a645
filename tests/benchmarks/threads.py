# SPDX-License-Identifier: Apache-2.0
"""Every figure of docs/results/threads.md: sites that share one machine's cores, and what the demo adds to training.

    python tests/benchmarks/threads.py [--remark SENTENCE]

The demo's four training sites, a process each, begin a round together; it is over when the last one is done. One torch
thread a site and torch's own choice take turns. Then the demo itself, in FLARE's simulator, for a few rounds.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import torch

from fedpac_me.config import load_config
from fedpac_me.data.phantom import write_phantom
from fedpac_me.data.site import folder_settings
from fedpac_me.hardware import machine, versions
from fedpac_me.learning.site import Site
from fedpac_me.model.backbone import build_model, get_weights
from fedpac_me.storage import read_json, write_text

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/results/threads.md"
CONFIG = ROOT / "app_configs/fedavg.json"
SITES = 4
ROUNDS = 2
TURNS = 2
DEMO_ROUNDS = 6


def main() -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--remark", default="", help="a sentence for the page, such as what else the machine did")
    args = parser.parse_args()
    default = torch.get_num_threads()
    torch.set_num_threads(1)  # forked processes get none of a pool's threads, so there must be no pool here
    with tempfile.TemporaryDirectory(prefix="fedpac_me_bench_") as name:
        folder = Path(name)
        print("Writing the phantom ...", file=sys.stderr, flush=True)
        write_phantom(folder / "phantom")
        rows = list(_turns(folder, default))
        demo = _demo(folder)
    write_text(PAGE, _page(rows, demo, args.remark))
    print(f"Written: {PAGE}")
    return 0


def _turns(folder: Path, default: int) -> Iterator[dict[str, float]]:
    """A row for each number of threads a site, over the rounds of all its turns."""
    found: dict[int, list[tuple[float, float]]] = {1: [], default: []}
    for turn in range(TURNS):
        for threads in found:
            print(f"Turn {turn + 1} of {TURNS}, {threads} threads a site ...", file=sys.stderr, flush=True)
            found[threads] += _rounds(folder, threads, f"{turn}-{threads}")
            print(f"seconds, of all processors: {found[threads][-ROUNDS:]}", file=sys.stderr, flush=True)
    for threads, rounds in found.items():
        wall, processor = zip(*rounds, strict=True)
        yield {
            "threads": threads,
            "fastest": min(wall),
            "median": statistics.median(wall),
            "processor": statistics.median(processor),
        }


def _rounds(folder: Path, threads: int, run: str) -> list[tuple[float, float]]:
    """Of every round: seconds until the last site is done, and the processor seconds of all sites."""
    forked = multiprocessing.get_context("fork")
    begin, results = forked.Barrier(SITES), forked.Queue()
    sites = [
        forked.Process(target=_site, args=(folder, f"site-{number}", threads, run, begin, results))
        for number in range(1, SITES + 1)
    ]
    for site in sites:
        site.start()
    told = [results.get() for _ in range(SITES * ROUNDS)]
    for site in sites:
        site.join()
    rounds = [[one for one in told if one["round"] == number] for number in range(ROUNDS)]
    return [
        (max(one["end"] for one in parts) - min(one["start"] for one in parts), sum(one["processor"] for one in parts))
        for parts in rounds
    ]


def _site(folder: Path, name: str, threads: int, run: str, begin: Any, results: Any) -> None:
    config = load_config(CONFIG, {"learning": {"cpu_threads": threads}, "evaluation": {"validation_every": 1000}})
    site = Site(name, config, folder_settings(folder / "phantom" / name), folder / run / name)
    weights = get_weights(build_model(config))
    site.train(weights, 0)  # reads the scans and, in round 0, validates
    for number in range(ROUNDS):
        begin.wait()
        start, used = time.monotonic(), _processor()
        site.train(weights, 1 + number)
        results.put(
            {"round": number, "start": start, "end": time.monotonic(), "processor": _processor() - used},
        )


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _demo(folder: Path) -> float:
    """Median seconds of the rounds of the demo's federation, same configuration, without the first."""
    print("The demo in FLARE's simulator ...", file=sys.stderr, flush=True)
    words = ["--config", CONFIG, "--data", folder / "phantom", "--rounds", DEMO_ROUNDS, "--runs", folder / "runs"]
    command = [sys.executable, ROOT / "jobs/train.py", *map(str, words), "--name", "demo"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (ledger,) = (folder / "runs/demo").rglob("ledger.json")
    rounds = read_json(ledger)["rounds"]
    # Rounds that validate do more than train.
    every = load_config(CONFIG).evaluation.validation_every
    return statistics.median(one["seconds"] for one in rounds[1:] if one["round"] % every)


def _page(rows: list[dict[str, float]], demo: float, remark: str) -> str:
    facts = ", ".join(f"{key} {value}" for key, value in {**machine(), **versions()}.items())
    one, default = rows
    training = one["processor"] / os.cpu_count()
    lines = [
        "# Sites that share the cores of one machine, measured",
        "",
        f"`python tests/benchmarks/threads.py` wrote this page on {date.today().isoformat()}. Machine and versions: "
        f"{facts}. {remark}",
        "",
        f"{SITES} training sites of the demo's phantom (48³) in a process each, `app_configs/fedavg.json`, "
        f"{TURNS * ROUNDS} rounds of 20 steps of each setting, in turns; seed 0. A round lasts from the first site's "
        "start to the last site's end. `learning.cpu_threads` is 1; the other setting is what torch takes by itself.",
        "",
        "| threads a site | round: fastest (s) | median (s) | processor seconds of all sites, median |",
        "|---|---|---|---|",
        *(
            f"| {row['threads']} | {row['fastest']:.2f} | {row['median']:.2f} | {row['processor']:.2f} |"
            for row in rows
        ),
        "",
        f"With torch's choice a round takes {default['median'] / one['median']:.2f} times as long and "
        f"{default['processor'] / one['processor']:.2f} times the processor.",
        "",
        f"The demo's federation in FLARE's simulator, same configuration: {demo:.2f} s a round (median, rounds without "
        f"validation). Its sites' training, {one['processor']:.2f} processor seconds shared out over {os.cpu_count()} "
        f"cores, is {training:.2f} s of it: a round takes {demo / training:.2f} times its training steps. The rest is "
        "FLARE's messages and waiting (`docs/results/federation.md`).",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
