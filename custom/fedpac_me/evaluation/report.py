# SPDX-License-Identifier: Apache-2.0
"""The report of a run: one page for people, one JSON for programs, one CSV row for every case and model."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fedpac_me.errors import InputError
from fedpac_me.evaluation.case_rows import SCORES
from fedpac_me.evaluation.cross_site import cross_site_matrix
from fedpac_me.evaluation.page import render_page
from fedpac_me.evaluation.participation import participation
from fedpac_me.evaluation.routing import routing_summary, training_masses
from fedpac_me.evaluation.run_record import BEST_MODEL, FINAL_MODEL, RunRecord, model_key, read_run
from fedpac_me.evaluation.summary import site_order, summarise_local, summarise_run
from fedpac_me.labels import REGIONS
from fedpac_me.storage import atomic_path, write_json, write_text

HTML_NAME, JSON_NAME, CSV_NAME = "report.html", "report.json", "cases.csv"

_SHORT_NAMES = {FINAL_MODEL: "final", BEST_MODEL: "best"}
_LEDGER_FIELDS = ("round", "accepted", "rejected", "seconds", "bytes_up", "bytes_down", "metrics", "experts", "notes")


def write_report(run: Path) -> Path:
    """Write ``report.html``, ``report.json`` and ``cases.csv`` into a run folder, each atomically.

    Returns:
        The page.

    Raises:
        InputError: the folder is not a complete run; see ``read_run``. Nothing is written then.
    """
    record = read_run(Path(run))
    report = build_report(record)
    page = render_page(record, report)
    write_figures(record, report)
    write_text(record.folder / HTML_NAME, page)
    return record.folder / HTML_NAME


def write_figures(record: RunRecord, report: Mapping[str, Any]) -> None:
    """``report.json`` and ``cases.csv`` alone: what programs read."""
    _write_cases(record, record.folder / CSV_NAME)
    write_json(record.folder / JSON_NAME, report)


def build_report(record: RunRecord) -> dict[str, Any]:
    """The machine's view of a run.

    ``sites``, ``mean``, ``worst_site``, ``spread`` and ``unseen`` are the headline: the final model or, where nothing
    was shared, every site's own (see ``summarise_local``). ``models`` has these for each evaluated model, and
    ``cross_site`` their Dice side by side (see ``cross_site_matrix``). With experts there is ``routing`` (see
    ``routing_summary``) and, at the headline's ``sites`` that trained, ``expert_mass``.
    ``participation`` has every site of the ledger, also one that is gone and so without a test result.

    Raises:
        InputError: the model that the headline needs was not evaluated anywhere.
    """
    models = {
        _SHORT_NAMES.get(model, model_key(model)): summarise_run(record.models[model])
        for model in sorted(record.models, key=lambda name: (name not in _SHORT_NAMES, site_order(name)))
    }
    headline = summarise_local(record.local_models) if record.local_only else models.get("final")
    if not headline or not headline["sites"]:
        wanted = "a site's own model" if record.local_only else f"the final model ({FINAL_MODEL})"
        raise InputError(f"{record.folder}: no site evaluated {wanted}; found {', '.join(models)}.")
    routing = routing_summary(record)
    return {
        "method": record.config["method"],
        "config_hash": record.config_hash,
        "seed": record.config["seed"],
        "rounds": [{field: entry[field] for field in _LEDGER_FIELDS if field in entry} for entry in record.rounds],
        "participation": participation(record.rounds),
        **headline,
        "sites": _with_masses(headline["sites"], training_masses(record.rounds)),
        "models": models,
        "cross_site": cross_site_matrix(models),
        **({"routing": routing} if routing else {}),
        "cases_csv": CSV_NAME,
    }


def _with_masses(sites: Mapping[str, Any], masses: Mapping[str, list[float]]) -> dict[str, Any]:
    return {
        site: summary | ({"expert_mass": masses[site]} if site in masses else {}) for site, summary in sites.items()
    }


def dice_table(report: Mapping[str, Any]) -> str:
    """Dice per site as plain text for a terminal, with what predicting nothing would score in the last column."""
    rows = [("site", "role", "cases", *REGIONS, "mean", "null")]
    rows += [_dice_row(site, summary["role"], summary) for site, summary in report["sites"].items()]
    if report["mean"]:
        rows.append(_dice_row("mean", "train", report["mean"]))
    if report["unseen"]:
        rows.append(_dice_row("mean", "evaluate", report["unseen"]))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(_aligned(row, widths) for row in rows)


def _dice_row(site: str, role: str, summary: Mapping[str, Any]) -> tuple[str, ...]:
    dice = [*(summary["dice"][key] for key in (*REGIONS, "mean")), summary["null_predictor"]["dice"]["mean"]]
    return (site, role, str(summary["cases"]), *("-" if value is None else f"{value:.3f}" for value in dice))


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    words = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
    figures = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join(words + figures)


def _write_cases(record: RunRecord, path: Path) -> None:
    rows = list(_case_rows(record))
    first = ("model", "site", "role", "case", *SCORES)
    more = sorted({key for row in rows for key in row} - set(first))
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=(*first, *more), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _case_rows(record: RunRecord) -> Iterator[dict[str, Any]]:
    for model in sorted(record.models, key=site_order):
        for site in sorted(record.models[model], key=site_order):
            evaluation = record.models[model][site]
            for number, case in enumerate(evaluation["cases"], start=1):
                name = _SHORT_NAMES.get(model, model_key(model))
                # Last, so that no figure of a site can pass for another site's.
                yield {**case, "model": name, "site": site, "role": evaluation["role"], "case": number}
