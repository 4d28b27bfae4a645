# SPDX-License-Identifier: Apache-2.0
"""The command ``fedpac-me``: what needs no federation running."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from fedpac_me import __version__
from fedpac_me.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """0: done. 1: failed. 2: bad input, with a sentence."""
    args = _parser().parse_args(arguments)
    try:
        return args.run(args) or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fedpac-me", description="Federated brain-tumour segmentation: data, predictions, reports."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        _add_phantom,
        _add_split,
        _add_check_data,
        _add_predict,
        _add_export,
        _add_evaluate,
        _add_significance,
        _add_report,
    ):
        add(commands)
    return parser


def _add_phantom(commands) -> None:
    phantom = _command(
        commands, "phantom", _phantom, "write the five synthetic hospitals", "fedpac-me phantom --out data/phantom"
    )
    phantom.add_argument("--out", type=Path, required=True, help="folder to write; must not exist")
    phantom.add_argument(
        "--size", type=_size, default=48, help="edge in voxels, or three of them: 240x240x155 (default: 48)"
    )
    phantom.add_argument("--seed", type=int, default=0)


def _add_check_data(commands) -> None:
    check = _command(
        commands,
        "check-data",
        _check_data,
        "read every case once and say what is wrong with it",
        "fedpac-me check-data data/phantom",
    )
    check.add_argument("data", metavar="DIR", type=Path, help="folder of cases, or with one folder a hospital")
    check.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    check.add_argument("--workers", type=int, metavar="N", help="processes to read with (default: one a core)")


def _add_predict(commands) -> None:
    predict = _command(
        commands,
        "predict",
        _predict,
        "segment one case",
        "fedpac-me predict --run runs/demo --case DIR --out seg.nii.gz",
    )
    predict.add_argument(
        "--run", dest="run_folder", type=Path, required=True, help="a finished run; its final model is used"
    )
    predict.add_argument(
        "--case", type=Path, required=True, help="folder of one case: <id>/<id>_t1.nii.gz or <id>-t1n.nii.gz ..."
    )
    predict.add_argument("--out", type=Path, required=True, help="label file to write, .nii or .nii.gz")
    predict.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    predict.add_argument(
        "--enhancing",
        type=int,
        choices=[3, 4],
        help="label to write for enhancing tumour (default: 3 for files named as from 2023 on, t1n ..., else 4)",
    )
    predict.add_argument(
        "--own",
        type=Path,
        metavar="DIR",
        help="a site's fedpac_me folder of the run, for the part that it keeps to itself",
    )


def _add_export(commands) -> None:
    export = _command(
        commands,
        "export",
        _export,
        "write a run's network, router included, as one torch.export program",
        "fedpac-me export --run runs/demo --out model.pt2",
    )
    export.add_argument("--run", dest="run_folder", type=Path, required=True, help="a finished run")
    export.add_argument("--out", type=Path, required=True, help="program to write, .pt2")


def _add_evaluate(commands) -> None:
    evaluate = _command(
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


def _add_significance(commands) -> None:
    significance = _command(
        commands,
        "significance",
        _significance,
        "compare finished runs case by case: intervals, paired tests",
        "fedpac-me significance runs/fedavg runs/fedpac_me",
    )
    significance.add_argument("run_folders", metavar="RUN", type=Path, nargs="+", help="the first is compared with")


def _add_report(commands) -> None:
    report = _command(commands, "report", _report, "write the report of a run again", "fedpac-me report runs/demo")
    report.add_argument("run_folder", metavar="RUN", type=Path, help="folder of a finished run")


def _add_split(commands) -> None:
    split = _command(
        commands,
        "split",
        _split,
        "make the sites of a simulated federation from one folder of cases",
        "fedpac-me split --data BraTS2020_TrainingData --min-cases 8 --out splits.json",
    )
    split.add_argument("--data", type=Path, required=True, help="folder with one folder a case")
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


def _command(commands, name: str, run, summary: str, example: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=summary, description=summary.capitalize() + ".", epilog=f"Example: {example}"
    )
    parser.set_defaults(run=run)
    return parser


def _size(text: str) -> int | tuple[int, int, int]:
    edges = tuple(int(edge) for edge in text.split("x"))
    if len(edges) not in (1, 3):
        raise argparse.ArgumentTypeError(f"expected one edge or three such as 240x240x155, not {text}")
    return edges[0] if len(edges) == 1 else edges


def _phantom(args: argparse.Namespace) -> None:
    from fedpac_me.data.phantom import write_phantom

    write_phantom(args.out, size=args.size, seed=args.seed, progress=lambda line: print(line, flush=True))
    print(f"Phantom hospitals: {args.out}")


def _split(args: argparse.Namespace) -> None:
    from fedpac_me.data.audit import audit_split, audit_table
    from fedpac_me.data.federation_split import write_split
    from fedpac_me.data.split_plan import SplitRequest, plan_split
    from fedpac_me.storage import write_json

    names = ("data", "mapping", "fets", "by", "sites", "alpha", "merge_physical_sites", "min_cases", "seed")
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

    report = check_data(args.data, workers=args.workers, progress=lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps(report.as_json(), indent=2) if args.json else report.text())
    return 1 if report.has_errors else 0


def _predict(args: argparse.Namespace) -> None:
    import numpy as np

    from fedpac_me.labels import NECROTIC, OEDEMA
    from fedpac_me.learning.device import choose_device
    from fedpac_me.learning.predict import add_own_part, load_run_model, predict_case

    model, config = load_run_model(args.run_folder)
    if args.own is not None:
        add_own_part(model, args.own)
    labels = predict_case(model, config, args.case, args.out, choose_device(args.device), args.enhancing)
    counted = sorted({NECROTIC, OEDEMA, *np.unique(labels).tolist()} - {0})
    counts = ", ".join(f"label {label}: {int((labels == label).sum())}" for label in counted)
    print(f"Segmentation: {args.out} (voxels of {counts})")


def _export(args: argparse.Namespace) -> None:
    from fedpac_me.learning.predict import load_run_model
    from fedpac_me.model.exported import export_program, save_program

    model, config = load_run_model(args.run_folder)
    save_program(export_program(model, config), config, args.out)
    print(f"Program: {args.out} (windows of {config.data.crop}³ voxels, presence mask and style in; region logits out)")


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


def _evaluate(args: argparse.Namespace) -> None:
    from fedpac_me.evaluation.evaluate_files import evaluate_files, means_table, write_rows

    if args.csv is not None and args.csv.exists():
        raise InputError(f"{args.csv} exists already. Choose another --csv; nothing is overwritten.")
    result = evaluate_files(args.pred, args.ref, progress=lambda line: print(line, file=sys.stderr, flush=True))
    if args.csv is not None:
        write_rows(args.csv, result["rows"])
    print(json.dumps(result, indent=2, allow_nan=False) if args.json else means_table(result))


def _report(args: argparse.Namespace) -> None:
    from fedpac_me.evaluation.report import dice_table, write_report
    from fedpac_me.storage import read_json

    path = write_report(args.run_folder)
    print(dice_table(read_json(path.with_suffix(".json"))))
    print(f"Report: {path}")


if __name__ == "__main__":
    sys.exit(main())
