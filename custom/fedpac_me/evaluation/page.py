# SPDX-License-Identifier: Apache-2.0
"""The report's page: what a run's record and report say, laid out for ``report.html``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from fedpac_me.evaluation.curves import LineStyle, line_styles, metric_curve, seconds_curve
from fedpac_me.evaluation.details import detail_tables, pair_matching
from fedpac_me.evaluation.metrics import CONVENTION
from fedpac_me.evaluation.pair_matching import PAIR_MATCHING_DEFINITION
from fedpac_me.evaluation.participation import ABSENT, as_ranges
from fedpac_me.evaluation.picture import LABEL_COLOURS, LABEL_NAMES, data_uri
from fedpac_me.evaluation.routing_page import routing_view
from fedpac_me.evaluation.run_record import FINAL_MODEL, RunRecord, model_key
from fedpac_me.evaluation.summary import site_order
from fedpac_me.evaluation.surface import HD95_DEFINITION
from fedpac_me.labels import REGIONS
from fedpac_me.page.environment import page_environment


def render_page(record: RunRecord, report: Mapping[str, Any]) -> str:
    """The whole page as HTML, self-contained; every text from the run is escaped."""
    environment = page_environment(__package__)
    environment.filters.update(
        dice=_dice, tenths=_tenths, percent=_percent, seconds=_seconds, mb=_megabytes, ranges=as_ranges
    )
    styles = line_styles(_training_sites(record))
    return environment.get_template("report.html").render(
        record=record,
        report=report,
        verdict=verdict(report, record.local_only),
        keys=(*REGIONS, "mean"),
        groups=_groups(report),
        details=detail_tables(report, _groups(report), ABSENT),
        pair_matching=pair_matching(report, _groups(report)),
        pair_matching_definition=PAIR_MATCHING_DEFINITION,
        routing=routing_view(record, report.get("routing"), styles),
        convention=CONVENTION,
        hd95_definition=HD95_DEFINITION,
        small_parts_mm3=record.config.get("evaluation", {}).get("small_parts_mm3", 0),
        silent_sites=_silent_sites(record, report),
        curves=_curves(record, styles),
        styles=styles,
        pictures=_pictures(record, report),
        label_key=[(LABEL_NAMES[label], colour) for label, colour in LABEL_COLOURS.items()],
        cross_site=report["cross_site"],
        config_json=json.dumps(record.config, indent=2),
        facts=_facts(record),
    )


def verdict(report: Mapping[str, Any], local_only: bool) -> str:
    """One plain sentence: what the model scores where it trained, where it did not, and what nothing would score."""
    seen, unseen = report["mean"], report["unseen"]
    model = "the sites' own models score" if local_only else "the final model scores"
    parts = []
    if seen:
        parts.append(f"{_dice(seen['dice']['mean'])} at {_count(seen['sites'], 'site')} that trained{_null_of(seen)}")
    if unseen:
        sites = f"{_count(unseen['sites'], 'site')} that never trained"
        parts.append(f"{_dice(unseen['dice']['mean'])} at {sites}{_null_of(unseen)}")
    return f"Mean Dice on test cases: {model} {' and '.join(parts)}, by the convention of BraTS 2020."


def _null_of(summary: Mapping[str, Any]) -> str:
    return f" (predicting no tumour at all: {_dice(summary['null_predictor']['dice']['mean'])})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _groups(report: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The rows below the sites."""
    named = (("Mean of sites that trained", report["mean"]), ("Mean of unseen sites", report["unseen"]))
    return [(name, summary) for name, summary in named if summary]


def _training_sites(record: RunRecord) -> list[str]:
    """Every site that the ledger has curves for."""
    reported = {site for entry in record.rounds for site in entry["metrics"]}
    accepted = {line["site"] for entry in record.rounds for line in entry["accepted"]}
    return sorted(reported | accepted, key=site_order)


def _silent_sites(record: RunRecord, report: Mapping[str, Any]) -> list[str]:
    """Sites of the ledger without a test result: they hold no test cases, or did not answer at the end."""
    abstained = {site for entry in record.rounds for site in entry["abstained"]}
    return sorted({*_training_sites(record), *abstained} - set(report["sites"]), key=site_order)


def _curves(record: RunRecord, styles: Mapping[str, LineStyle]) -> list[tuple[str, Markup]]:
    rounds = record.rounds
    drawn = (
        (
            "Validation Dice of the received model",
            metric_curve(rounds, "dice_mean", styles, "mean Dice", 1.0),
        ),
        ("Training loss", metric_curve(rounds, "train_loss", styles, "loss")),
        ("Seconds: round (thick), training", seconds_curve(rounds, styles)),
    )
    return [(name, Markup(svg)) for name, svg in drawn if svg]  # drawn here; matplotlib escapes its text


def _pictures(record: RunRecord, report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Per site, its name, the model shown and the PNG as a data URI."""
    rows = []
    for site in report["sites"]:
        found = record.pictures.get(site, {})
        wanted = [site, *sorted(found)] if record.local_only else [model_key(FINAL_MODEL)]
        model = next((name for name in wanted if name in found), None)
        if model is not None:
            shown = "final model" if model == model_key(FINAL_MODEL) else f"model of {model}"
            rows.append((site, shown, data_uri(found[model])))
    return rows


def _facts(record: RunRecord) -> list[tuple[str, list[tuple[str, str]]]]:
    """What the run stood on, as named lists of name and value."""
    run = {
        "run": record.name,
        "config hash": record.config_hash,
        "seed": record.config["seed"],
        "model signature": record.signature,
        "total time": _seconds(record.seconds_total),
    }
    parts = (("Run", run), ("Data", record.data), ("Versions", record.versions), ("Hardware", record.hardware))
    return [(name, [(key, _plain(value)) for key, value in part.items()]) for name, part in parts if part]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else ABSENT if value is None else json.dumps(value)


def _dice(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.3f}"


def _tenths(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.1f}"


def _percent(value: float | None) -> str:
    return ABSENT if value is None else f"{100 * value:.2f} %"


def _seconds(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.1f} s"


def _megabytes(value: int | None) -> str:
    return ABSENT if value is None else f"{value / 1e6:.2f}"
