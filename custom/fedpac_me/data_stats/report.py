# SPDX-License-Identifier: Apache-2.0
"""The report of the data statistics: one page for people, one JSON for programs, one table for the console."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedpac_me.data_stats.features import GRADES, PARTS
from fedpac_me.data_stats.page import figure, render_page
from fedpac_me.data_stats.summary import shared_sentences
from fedpac_me.labels import MODALITIES, REGIONS
from fedpac_me.storage import write_json, write_text

HTML_NAME, JSON_NAME = "data_stats.html", "data_stats.json"

_HEADER = ["site", "cases", "train", "valid", "test", *GRADES[:2], *(f"{region} mL" for region in REGIONS), *MODALITIES]


def write_data_stats(folder: Path, report: Mapping[str, Any]) -> Path:
    """Write ``data_stats.json`` and ``data_stats.html`` into ``folder``, each atomically; returns the page."""
    page = render_page(report)
    write_json(folder / JSON_NAME, report)
    write_text(folder / HTML_NAME, page)
    return folder / HTML_NAME


def stats_table(report: Mapping[str, Any]) -> str:
    """A line a site, and sentences about those that are not in it and about shared subjects."""
    rows = [_HEADER, *(_row(name, site) for name, site in {**report["sites"], "all": report["all"]}.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    lines.append(f"mL: mean. {', '.join(MODALITIES)}: mean of the cases' median raw intensities. -: withheld or none.")
    privacy = report["privacy"]
    lines += [f"{site}: fewer than {privacy['min_count']} cases, so nothing is shown." for site in report["withheld"]]
    lines += [f"{site} could not answer: {reason}." for site, reason in report["silent"].items()]
    return "\n".join([*lines, *shared_sentences(report)])


def _row(name: str, site: Mapping[str, Any]) -> list[str]:
    counts = [site["cases"], *(site["parts"][part] for part in PARTS), *(site["grades"][grade] for grade in GRADES[:2])]
    volumes = [site["volumes_ml"][region]["mean"] for region in REGIONS]
    medians = [site["modalities"][modality]["mean"] for modality in MODALITIES]
    cells = [*(figure(value, 0) for value in counts), *(figure(value, 1) for value in volumes)]
    return [name, *cells, *(figure(value, 0) for value in medians)]
