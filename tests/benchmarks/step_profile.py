# SPDX-License-Identifier: Apache-2.0
"""Every figure of docs/results/profile.md: where the time of a training step goes, operator by operator.

python tests/benchmarks/step_profile.py [--remark SENTENCE]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from datetime import date
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from fedpac_me.data.phantom import write_phantom
from fedpac_me.hardware import machine, versions
from fedpac_me.storage import write_text
from step import STEPS, training_turn

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/results/profile.md"
METHODS = ("fedavg", "fedpac_me")
ROWS = 14


def main() -> int:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--remark", default="", help="a sentence for the page, such as what else the machine did")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="fedpac_me_bench_") as name:
        phantom = Path(name) / "phantom"
        print("Writing the phantom ...", file=sys.stderr, flush=True)
        write_phantom(phantom)
        tables = [_table(method, phantom) for method in METHODS]
    facts = ", ".join(f"{key} {value}" for key, value in {**machine(), **versions()}.items())
    head = (
        "# Where a training step's time goes\n\n"
        f"`python tests/benchmarks/step_profile.py` wrote this page on {date.today().isoformat()}. Machine and "
        f"versions: {facts}. {args.remark}\n\n"
        f"`torch.profiler`, {STEPS} steps of batch 2 at 32³ of the demo's site-1 on one thread, which also "
        "cuts the crops and changes their perspective in between; an operator's own time, with the profiler's."
    )
    write_text(PAGE, "\n\n".join([head, *tables]) + "\n")
    print(f"Written: {PAGE}")
    return 0


def _table(method: str, phantom: Path) -> str:
    print(f"{method} ...", file=sys.stderr, flush=True)
    turn = training_turn(method, phantom)
    turn()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        turn()
    found = sorted(profiled.key_averages(), key=lambda one: -one.self_cpu_time_total)
    total = sum(one.self_cpu_time_total for one in found)
    lines = [
        f"## `{method}`: {total / STEPS / 1000:.1f} ms a step",
        "",
        "| operator | calls a step | ms a step | share |",
        "|---|---|---|---|",
    ]
    for one in found[:ROWS]:
        own = one.self_cpu_time_total
        lines.append(
            f"| `{one.key}` | {one.count / STEPS:.1f} | {own / STEPS / 1000:.2f} | {100 * own / total:.1f} % |"
        )
    rest = sum(one.self_cpu_time_total for one in found[ROWS:])
    lines.append(f"| {len(found) - ROWS} others | | {rest / STEPS / 1000:.2f} | {100 * rest / total:.1f} % |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
