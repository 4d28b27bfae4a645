# SPDX-License-Identifier: Apache-2.0
"""``fedpac-me evaluate``, ``significance`` and ``report``: figures."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from fedpac_me.cli.command import add_command
from fedpac_me.errors import InputError


def add_evaluate(commands) -> None:
    """``fedpac-me evaluate``."""
    evaluate = add_command(
        commands,
        "evaluate",
        _evaluate,
        "score anyone's label files against references",
        "fedpac-me evaluate --pred predictions --ref references --csv scores.csv",
    )
    evaluate.add_argument(
        "--pred", type=Path, required=True, metavar="PATH", help="a label file, or a folder of them named by case id"
    )
    evaluate.add_argument(
        "--ref", type=Path, required=True, metavar="PATH", help="likewise; <id>, <id>_seg or <id>-seg (.nii.gz or .nii)"
    )
    evaluate.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    evaluate.add_argument("--csv", type=Path, metavar="FILE", help="file to write, one row a case")


def add_significance(commands) -> None:
    """``fedpac-me significance``."""
    significance = add_command(
        commands,
        "significance",
        _significance,
        "compare finished runs case by case: intervals, paired tests",
        "fedpac-me significance runs/fedavg runs/fedpac_me",
    )
    significance.add_argument("run_folders", metavar="RUN", type=Path, nargs="+", help="the first is compared with")


def add_report(commands) -> None:
    """``fedpac-me report``."""
    report = add_command(commands, "report", _report, "write the report of a run again", "fedpac-me report runs/demo")
    report.add_argument("run_folder", metavar="RUN", type=Path, help="folder of a finished run")


def _evaluate(args: argparse.Namespace) -> None:
    from fedpac_me.evaluation.evaluate_files import evaluate_files, means_table, write_rows

    if args.csv is not None and args.csv.exists():
        raise InputError(f"{args.csv} exists already. Choose another --csv; nothing is overwritten.")
    result = evaluate_files(args.pred, args.ref, progress=lambda line: print(line, file=sys.stderr, flush=True))
    if args.csv is not None:
        write_rows(args.csv, result["rows"])
    print(json.dumps(result, indent=2, allow_nan=False) if args.json else means_table(result))


def _significance(args: argparse.Namespace) -> None:
    from fedpac_me.evaluation.statistics import compare, comparison_table

    runs = {folder.name: folder / "cases.csv" for folder in args.run_folders}
    if len(runs) != len(args.run_folders) or len(runs) < 2:
        raise InputError("Name two or more runs whose folders have different names.")
    reference = args.run_folders[0].name
    found = {
        "sites that trained": compare(runs, reference, "train"),
        "sites that never trained": compare(runs, reference, "evaluate"),
    }
    if not any(found.values()):
        raise InputError(
            f"{args.run_folders[0]} has no test case of a shared final model; there is nothing to compare."
        )
    for sites, rows in found.items():
        if rows:
            print(f"Test cases of {sites}:\n{comparison_table(rows, reference)}")


def _report(args: argparse.Namespace) -> None:
    from fedpac_me.evaluation.report import dice_table, write_report
    from fedpac_me.storage import read_json

    path = write_report(args.run_folder)
    print(dice_table(read_json(path.with_suffix(".json"))))
    print(f"Report: {path}")
