# SPDX-License-Identifier: Apache-2.0
"""The three files of a comparison, and the table that a terminal shows."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedpac_me.comparison.figures import SEEN, UNSEEN, read_figures
from fedpac_me.comparison.page import render_page
from fedpac_me.comparison.plan import PlannedRun
from fedpac_me.comparison.spread import spread_words
from fedpac_me.comparison.tables import build_comparison, site_rows
from fedpac_me.errors import InputError
from fedpac_me.storage import atomic_path, write_json, write_text

HTML_NAME, JSON_NAME, CSV_NAME = "comparison.html", "comparison.json", "comparison.csv"


def write_comparison(
    out: Path, planned: Sequence[PlannedRun], failures: Mapping[str, str], reference: str
) -> dict[str, Any]:
    """Write ``comparison.html``, ``.json`` and ``.csv`` into ``out``, each atomically, from the runs that are there.

    Returns:
        What the JSON holds.

    Raises:
        InputError: no run is there, or the folder of one is damaged.
    """
    runs = [read_figures(run) for run in planned if run.done]
    if not runs:
        reasons = " ".join(sorted(set(failures.values())))
        raise InputError(f"No run has ended well, so there is nothing to compare. {reasons}".strip())
    comparison = build_comparison(planned, runs, failures, reference)
    page = render_page(comparison)
    _write_rows(out / CSV_NAME, site_rows(runs))
    write_json(out / JSON_NAME, comparison)
    write_text(out / HTML_NAME, page)
    return comparison


def text_table(comparison: Mapping[str, Any]) -> str:
    """Mean Dice of every method for a terminal, the sentences below it, and both by kind where there are several."""
    lines = [*_method_lines(comparison), *comparison["sentences"]]
    if len(comparison["kinds"]) > 1:
        for kind, found in comparison["kinds"].items():
            lines += ["", f"{kind} ({', '.join(found['data'])}):", *_kind_lines(found), *found["sentences"]]
    return "\n".join(lines)


def _method_lines(comparison: Mapping[str, Any]) -> list[str]:
    rows = [("method", "runs", "validation", "seen", "worst seen", "unseen", "MB up", "seconds")]
    for name, method in comparison["methods"].items():
        up, seconds = method["bytes_up"], method["seconds"]
        cost = ("-", "-") if seconds is None else (f"{up / 1e6:.1f}", f"{seconds:.0f}")
        failed = f" ({len(method['failed'])} failed)" if method["failed"] else ""
        rows.append((name, f"{len(method['runs'])}{failed}", *_dice_words(method), *cost))
    return _aligned_lines(rows)


def _kind_lines(kind: Mapping[str, Any]) -> list[str]:
    rows = [(name, str(method["runs"]), *_dice_words(method)) for name, method in kind["methods"].items()]
    return _aligned_lines([("method", "runs", "validation", "seen", "worst seen", "unseen"), *rows])


def _dice_words(method: Mapping[str, Any]) -> list[str]:
    return [spread_words(method["dice"][column], "-") for column in ("validation", SEEN, "worst", UNSEEN)]


def _aligned_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(_aligned(row, widths)).rstrip() for row in rows]


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
