# SPDX-License-Identifier: Apache-2.0
"""The command ``fedpac-me``: what needs no federation running."""

from __future__ import annotations

import argparse
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

    phantom = _command(
        commands, "phantom", _phantom, "write the five synthetic hospitals", "fedpac-me phantom --out data/phantom"
    )
    phantom.add_argument("--out", type=Path, required=True, help="folder to write; must not exist")
    phantom.add_argument(
        "--size", type=_size, default=48, help="edge in voxels, or three of them: 240x240x155 (default: 48)"
    )
    phantom.add_argument("--seed", type=int, default=0)

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
    predict.add_argument("--case", type=Path, required=True, help="folder of one case: <id>/<id>_t1.nii.gz ...")
    predict.add_argument("--out", type=Path, required=True, help="label file to write, .nii or .nii.gz")
    predict.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    predict.add_argument(
        "--own",
        type=Path,
        metavar="DIR",
        help="a site's fedpac_me folder of the run, for the part that it keeps to itself",
    )

    export = _command(
        commands,
        "export",
        _export,
        "write a run's network, router included, as one torch.export program",
        "fedpac-me export --run runs/demo --out model.pt2",
    )
    export.add_argument("--run", dest="run_folder", type=Path, required=True, help="a finished run")
    export.add_argument("--out", type=Path, required=True, help="program to write, .pt2")

    report = _command(commands, "report", _report, "write the report of a run again", "fedpac-me report runs/demo")
    report.add_argument("run_folder", metavar="RUN", type=Path, help="folder of a finished run")
    return parser


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


def _predict(args: argparse.Namespace) -> None:
    from fedpac_me.labels import LABELS
    from fedpac_me.learning.predict import add_own_part, load_run_model, predict_case
    from fedpac_me.learning.site import choose_device

    model, config = load_run_model(args.run_folder)
    if args.own is not None:
        add_own_part(model, args.own)
    labels = predict_case(model, config, args.case, args.out, choose_device(args.device))
    counts = ", ".join(f"label {label}: {int((labels == label).sum())}" for label in LABELS[1:])
    print(f"Segmentation: {args.out} (voxels of {counts})")


def _export(args: argparse.Namespace) -> None:
    from fedpac_me.learning.predict import load_run_model
    from fedpac_me.model.exported import export_program, save_program

    model, config = load_run_model(args.run_folder)
    save_program(export_program(model, config), config, args.out)
    print(f"Program: {args.out} (windows of {config.data.crop}³ voxels, presence mask and style in; region logits out)")


def _report(args: argparse.Namespace) -> None:
    from fedpac_me.evaluation.report import dice_table, write_report
    from fedpac_me.storage import read_json

    path = write_report(args.run_folder)
    print(dice_table(read_json(path.with_suffix(".json"))))
    print(f"Report: {path}")


if __name__ == "__main__":
    sys.exit(main())
