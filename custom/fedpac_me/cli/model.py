# SPDX-License-Identifier: Apache-2.0
"""``fedpac-me predict`` and ``export``: what a finished run's network is for."""

from __future__ import annotations

import argparse
from pathlib import Path

from fedpac_me.cli.command import add_command


def add_predict(commands) -> None:
    """``fedpac-me predict``."""
    predict = add_command(
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
        "--small-parts",
        type=float,
        metavar="MM3",
        help="leave out connected parts up to this volume; 0 keeps all (default: as the run was evaluated)",
    )
    _add_own(predict)


def add_export(commands) -> None:
    """``fedpac-me export``."""
    export = add_command(
        commands,
        "export",
        _export,
        "write a run's network, router included, as one torch.export program",
        "fedpac-me export --run runs/demo --out model.pt2",
    )
    export.add_argument("--run", dest="run_folder", type=Path, required=True, help="a finished run")
    export.add_argument("--out", type=Path, required=True, help="program to write, .pt2")
    _add_own(export)


def _add_own(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--own",
        type=Path,
        metavar="DIR",
        help="where a site keeps its states of the run, for the part, or the model, that it keeps to itself",
    )


def _predict(args: argparse.Namespace) -> None:
    import numpy as np

    from fedpac_me.config import changed
    from fedpac_me.labels import NECROTIC, OEDEMA
    from fedpac_me.learning.device import choose_device
    from fedpac_me.learning.predict import load_run_model, predict_case

    model, config = load_run_model(args.run_folder, args.own)
    if args.small_parts is not None:
        config = changed(config, {"evaluation": {"small_parts_mm3": args.small_parts}}, source="--small-parts")
    labels = predict_case(model, config, args.case, args.out, choose_device(args.device), args.enhancing)
    counted = sorted({NECROTIC, OEDEMA, *np.unique(labels).tolist()} - {0})
    counts = ", ".join(f"label {label}: {int((labels == label).sum())}" for label in counted)
    print(f"Segmentation: {args.out} (voxels of {counts})")


def _export(args: argparse.Namespace) -> None:
    from fedpac_me.learning.predict import load_run_model
    from fedpac_me.model.exported import export_program, save_program

    model, config = load_run_model(args.run_folder, args.own)
    save_program(export_program(model, config), config, args.out)
    print(f"Program: {args.out} (windows of {config.data.crop}³ voxels, presence mask and style in; region logits out)")
