# SPDX-License-Identifier: Apache-2.0
"""``fedpac-me compare`` and ``headline``: methods against each other."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from dataclasses import fields
from pathlib import Path

from fedpac_me.cli.command import add_command


def add_compare(commands) -> None:
    """``fedpac-me compare``."""
    compare = add_command(
        commands,
        "compare",
        _compare,
        "run methods on the same federations and say which is better, and how sure that is",
        "fedpac-me compare --methods fedavg fedbn fedpac_me --out runs/comparison",
    )
    compare.add_argument(
        "--methods",
        nargs="+",
        required=True,
        metavar="METHOD",
        help="files of app_configs/ or app_configs/ablations/ without .json, or paths of JSON files",
    )
    compare.add_argument("--seeds", type=_numbers, default=(0, 1, 2), help="training seeds (default: 0,1,2)")
    compare.add_argument(
        "--data",
        nargs="+",
        type=Path,
        default=(),
        metavar="DIR|SPLITS",
        help="federations: a folder with one folder a hospital, or a file of `fedpac-me split` (default: phantoms)",
    )
    compare.add_argument(
        "--phantom-seeds", type=_numbers, default=(0, 1), help="phantoms to write where no --data is (default: 0,1)"
    )
    compare.add_argument("--phantom-size", type=int, default=48, help="their edge in voxels (default: 48)")
    compare.add_argument(
        "--phantom-kinds",
        nargs="+",
        default=("demo",),
        metavar="KIND",
        help="kinds of phantom, each with every one of the seeds: demo, conflicting, one-scanner (default: demo)",
    )
    length = compare.add_mutually_exclusive_group()
    length.add_argument("--rounds", type=_positive, help="instead of each configuration's own")
    length.add_argument("--budget", type=_share, metavar="F", help="times each configuration's own rounds")
    compare.add_argument(
        "--train-cases", type=_positive, metavar="N", help="most training cases of each site (default: all)"
    )
    compare.add_argument(
        "--jobs", type=_positive, default=_cores(), help=f"runs at the same time (default: one a core, here {_cores()})"
    )
    compare.add_argument(
        "--out", type=Path, default=Path("runs/comparison"), help="runs and results (default: runs/comparison)"
    )
    compare.add_argument("--reference", help="method that the others are tested against (default: fedpac_me)")
    compare.add_argument("--dry-run", action="store_true", help="say which runs there would be, and stop")


def add_headline(commands) -> None:
    """``fedpac-me headline``."""
    command = add_command(
        commands,
        "headline",
        _headline,
        "the table of a comparison as Markdown",
        "fedpac-me headline docs/results/comparison.json --into README.md",
    )
    command.add_argument("comparison", type=Path, metavar="FILE", help="a comparison.json")
    command.add_argument("--into", type=Path, metavar="PAGE", help="put it between the two markers of this page")


def _compare(args: argparse.Namespace) -> int:
    from fedpac_me.comparison.compare import Request, compare, dry_run

    request = Request(**{field.name: getattr(args, field.name) for field in fields(Request)})
    if args.dry_run:
        print(dry_run(request))
        return 0
    # A scheduler ends a command so. Scans of patients and processes shall not be left behind then either.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return 0 if compare(request, lambda line: print(line, flush=True)) else 1
    except KeyboardInterrupt:
        print("Stopped. What is finished is kept; the same command does the rest.", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def _headline(args: argparse.Namespace) -> None:
    from fedpac_me.comparison.headline import headline, read_comparison, write_headline

    if args.into is None:
        print(headline(read_comparison(args.comparison)))
        return
    write_headline(args.comparison, args.into)
    print(f"Headline written: {args.into}")


def _numbers(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"expected whole numbers with commas between them, such as 0,1,2, not {text}")
    return tuple(int(part) for part in parts)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, not {text}")
    return int(text)


def _share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, not {text}")
    return number


def _cores() -> int:
    """Those that this process may use; a scheduler may give it fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
