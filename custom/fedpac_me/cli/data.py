# SPDX-License-Identifier: Apache-2.0
"""``fedpac-me phantom``, ``split`` and ``check-data``: cases on disk."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import get_args

from fedpac_me.cli.command import add_command
from fedpac_me.data.layouts import LayoutKey, layout_named


def add_phantom(commands) -> None:
    """``fedpac-me phantom``."""
    phantom = add_command(
        commands, "phantom", _phantom, "write the five synthetic hospitals", "fedpac-me phantom --out data/phantom"
    )
    phantom.add_argument("--out", type=Path, required=True, help="folder to write; must not exist")
    phantom.add_argument(
        "--size", type=_size, default=48, help="edge in voxels, or three of them: 240x240x155 (default: 48)"
    )
    phantom.add_argument(
        "--kind",
        default="demo",
        help="which federation: demo, conflicting (what is bright at one hospital is dark at another, three lack a "
        "modality each) or one-scanner (every hospital has a scanner of its own) (default: demo)",
    )
    phantom.add_argument("--seed", type=int, default=0)


def add_split(commands) -> None:
    """``fedpac-me split``."""
    split = add_command(
        commands,
        "split",
        _split,
        "make the sites of a simulated federation from one folder of cases",
        "fedpac-me split --data BraTS2020_TrainingData --min-cases 8 --out splits.json",
    )
    split.add_argument("--data", type=Path, required=True, help="folder with one folder a case")
    _add_layout(split)
    split.add_argument("--mapping", type=Path, help="BraTS2020's name_mapping.csv (default: the one in --data, if any)")
    split.add_argument("--fets", type=Path, help="FeTS' partitioning_*.csv: its partitions are the sites")
    split.add_argument(
        "--by",
        choices=["institution", "grade", "iid", "dirichlet"],
        help="what makes a site (default: institution): where a case came from, its grade, chance, or shares of each "
        "grade drawn from a Dirichlet distribution",
    )
    split.add_argument("--sites", type=int, help="how many, with --by iid and dirichlet (default: 8)")
    split.add_argument(
        "--alpha", type=float, help="of the Dirichlet distribution; small: sites differ much (default: 0.5)"
    )
    split.add_argument(
        "--merge-physical-sites", action="store_true", help="one site for the names of one hospital: TCIA02 and TCIA10"
    )
    split.add_argument("--min-cases", type=int, metavar="N", help="put the sites with fewer cases into one, 'small'")
    split.add_argument(
        "--leave-out",
        action="append",
        default=[],
        metavar="SITE",
        help="a site that never trains, all its cases test; may be repeated",
    )
    split.add_argument("--seed", type=int, default=0, help="of the parts and of --by iid and dirichlet (default: 0)")
    split.add_argument("--no-images", action="store_true", help="audit cases and grades only, without reading images")
    split.add_argument("--out", type=Path, required=True, help="file to write; the audit goes beside it")


def add_check_data(commands) -> None:
    """``fedpac-me check-data``."""
    check = add_command(
        commands,
        "check-data",
        _check_data,
        "read every case once and say what is wrong with it",
        "fedpac-me check-data data/phantom",
    )
    check.add_argument("data", metavar="DIR", type=Path, help="folder of cases, or with one folder a hospital")
    check.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    _add_layout(check)
    check.add_argument("--workers", type=int, metavar="N", help="processes to read with (default: one a core)")


def _add_layout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--layout",
        choices=get_args(LayoutKey),
        help="how files are named: _t1, _t1ce, _t2, _flair or -t1n, -t1c, -t2w, -t2f (default: detected case by case)",
    )


def _size(text: str) -> int | tuple[int, int, int]:
    edges = tuple(int(edge) for edge in text.split("x"))
    if len(edges) not in (1, 3):
        raise argparse.ArgumentTypeError(f"expected one edge or three such as 240x240x155, not {text}")
    return edges[0] if len(edges) == 1 else edges


def _phantom(args: argparse.Namespace) -> None:
    from fedpac_me.data.phantom import write_phantom

    write_phantom(
        args.out, size=args.size, seed=args.seed, progress=lambda line: print(line, flush=True), kind=args.kind
    )
    print(f"Phantom hospitals: {args.out}")


def _split(args: argparse.Namespace) -> None:
    from fedpac_me.data.audit import audit_split, audit_table
    from fedpac_me.data.federation_split import write_split
    from fedpac_me.data.split_plan import SplitRequest, plan_split
    from fedpac_me.storage import write_json

    names = ("data", "layout", "mapping", "fets", "by", "sites", "alpha", "merge_physical_sites", "min_cases", "seed")
    plan = plan_split(SplitRequest(**{name: getattr(args, name) for name in names}, leave_out=tuple(args.leave_out)))
    for note in plan.notes:
        print(note)
    audit = audit_split(
        plan.split, plan.cases, plan.grades, images=not args.no_images, progress=lambda line: print(line, flush=True)
    )
    write_split(args.out, plan.split)
    beside = args.out.with_suffix(".audit.json")
    write_json(beside, audit)
    print(audit_table(audit))
    print(f"Splits: {args.out}, audit: {beside}. To train with them: python jobs/train.py --splits {args.out} ...")


def _check_data(args: argparse.Namespace) -> int:
    from fedpac_me.data.check_data import check_data

    report = check_data(
        args.data,
        workers=args.workers,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
        layout=layout_named(args.layout),
    )
    print(json.dumps(report.as_json(), indent=2) if args.json else report.text())
    return 1 if report.has_errors else 0
