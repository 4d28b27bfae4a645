# SPDX-License-Identifier: Apache-2.0
"""The command ``fedpac-me``: what needs no federation running."""

from __future__ import annotations

import argparse

from fedpac_me import __version__
from fedpac_me.cli import compare, data, model, results
from fedpac_me.errors import exit_code


def main(arguments: list[str] | None = None) -> int:
    """0: done. 1: failed. 2: bad input, with a sentence."""
    args = _parser().parse_args(arguments)
    return exit_code(lambda: args.run(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fedpac-me", description="Federated brain-tumour segmentation: data, predictions, reports."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        data.add_phantom,
        data.add_split,
        data.add_check_data,
        model.add_predict,
        model.add_export,
        results.add_evaluate,
        results.add_significance,
        results.add_report,
        compare.add_compare,
        compare.add_headline,
    ):
        add(commands)
    return parser
