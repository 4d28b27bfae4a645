# SPDX-License-Identifier: Apache-2.0
"""Tables of the report's page below its headline: lesions, volumes, and whether the network knows how sure to be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fedpac_me.evaluation.calibration import CALIBRATION_DEFINITION
from fedpac_me.evaluation.lesions import LESION_DEFINITION
from fedpac_me.evaluation.pair_matching import PAIR_MATCHING
from fedpac_me.labels import REGIONS

_KEYS = (*REGIONS, "mean")

Group = tuple[str, Mapping[str, Any]]
"""Name and summary of a row that stands for several sites."""


@dataclass(frozen=True)
class _Columns:
    """One figure of a summary, by region, and how it is written; ``keys`` are those of the figure."""

    title: str
    figure: str
    pattern: str = "{:.3f}"
    keys: tuple[str, ...] = _KEYS


_TABLES = (
    (
        "Lesion by lesion",
        f"{LESION_DEFINITION}; where there is nothing to count, Dice is 1 and HD95 0. HD95 over the cases with the "
        "region, voxels of all lesions together, leaves out cases whose truth has none of it, and with them most of "
        "what the convention's 373.13 mm does to the mean",
        (
            _Columns("Lesion-wise Dice", "lesionwise_dice"),
            _Columns("Lesion-wise HD95 (mm)", "lesionwise_hd95", "{:.1f}"),
            _Columns("HD95, cases with the region (mm)", "hd95_nonempty", "{:.1f}"),
        ),
    ),
    (
        "What was found and how much of it",
        "Sensitivity is the share of a region's voxels that were found; where the truth has none, 1 if nothing was "
        "predicted, else 0. Specificity is the share of all other voxels that were left alone, background included: "
        "near 1 for everyone. Volume error is predicted minus true volume, above 0 where too much was predicted; in "
        "its mean too much and too little cancel, in that of its size they do not",
        (
            _Columns("Sensitivity", "sensitivity"),
            _Columns("Specificity", "specificity", "{:.4f}", REGIONS),
            _Columns("Volume error (mL)", "volume_error", "{:+.2f}", REGIONS),
            _Columns("Its size (mL)", "absolute_volume_error", "{:.2f}", REGIONS),
        ),
    ),
    (
        "Calibration",
        CALIBRATION_DEFINITION,
        (_Columns("ECE", "ece", "{:.4f}"), _Columns("ECE of “nothing”", "null_ece", "{:.4f}")),
    ),
)


def detail_tables(report: Mapping[str, Any], groups: Iterable[Group], absent: str) -> list[dict[str, Any]]:
    """The tables for ``details.html``.

    Returns:
        Per table ``title``; ``caption`` without its last full stop; ``heads``, name and keys of each group of columns;
        ``sites``, name, summary and cells of each row; ``groups``, the same of those below. A cell is its text, and
        whether it begins a group of columns; a figure that does not exist is ``absent``.
    """
    return [
        {
            "title": title,
            "caption": caption,
            "heads": [(columns.title, columns.keys) for columns in wanted],
            "sites": _rows(report["sites"].items(), wanted, absent),
            "groups": _rows(groups, wanted, absent),
        }
        for title, caption, wanted in _TABLES
    ]


def pair_matching(report: Mapping[str, Any], groups: Iterable[Group]) -> list[tuple[str, float]]:
    """Names and pair-matching accuracies of sites and groups; empty in a run that was not asked for them."""
    named = ((name, summary[PAIR_MATCHING]) for name, summary in (*report["sites"].items(), *groups))
    return [(name, value) for name, value in named if value is not None]


def _rows(
    named: Iterable[Group], wanted: Iterable[_Columns], absent: str
) -> list[tuple[str, Mapping[str, Any], list[tuple[str, bool]]]]:
    def cells(summary: Mapping[str, Any]) -> list[tuple[str, bool]]:
        return [
            (_written(summary[columns.figure][key], columns.pattern.format, absent), key == columns.keys[0])
            for columns in wanted
            for key in columns.keys
        ]

    return [(name, summary, cells(summary)) for name, summary in named]


def _written(value: float | None, form: Callable[[float], str], absent: str) -> str:
    return absent if value is None else form(value)
