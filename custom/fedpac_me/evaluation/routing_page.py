# SPDX-License-Identifier: Apache-2.0
"""The report's section on experts: the routing summary in words, shaded tables, curves and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from markupsafe import Markup

from fedpac_me.evaluation.contingency import says_something
from fedpac_me.evaluation.curves import LineStyle, line_styles, mass_curve, metric_curve, spread_curve
from fedpac_me.evaluation.picture import data_uri
from fedpac_me.evaluation.run_record import RunRecord
from fedpac_me.evaluation.summary import site_order

PICTURES_SHOWN = 12
"""Scans shown of each expert; the page holds the pictures, so that of dozens of sites has to stay light."""

_TITLES = {
    "site_training": ("Hospital, training scans", "Site"),
    "site": ("Hospital, test scans", "Site"),
    "protocol": ("Imaging protocol, test scans", "Protocol"),
    "grade": ("Tumour grade, test scans", "Grade"),
}
_WORDS = {"protocol": "imaging protocol", "site": "hospital", "grade": "tumour grade"}
_ALIKE, _HARDLY = 0.05, 0.1


def routing_view(
    record: RunRecord, routing: Mapping[str, Any] | None, sites: Mapping[str, LineStyle]
) -> dict[str, Any] | None:
    """What ``routing.html`` shows, from ``routing_summary``; ``None`` without one. ``sites`` are styled for curves."""
    if routing is None:
        return None
    experts = range(routing["experts"])
    styles = line_styles([f"expert {expert}" for expert in experts])
    return {
        "summary": routing,
        "experts": experts,
        "by_site": _keys(record) == "site",
        "sentence": routing_sentence(routing["tables"]),
        "warnings": _warnings(routing),
        "heat_maps": [_heat_map(name, routing["tables"][name]) for name in _TITLES if name in routing["tables"]],
        "knock_out": _knock_out_rows(routing),
        "groups": [
            (words, routing[name])
            for name, words in (("seen", "All sites that trained"), ("unseen", "All unseen sites"))
            if routing[name]
        ],
        "styles": styles,
        "curves": _curves(record, styles, sites),
        "pictures": _pictures(record),
    }


def routing_sentence(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """One plain sentence: which property of the test scans the experts follow most, and which less.

    Values are ranked by what they exceed chance, since a table with many rows reaches a high one by chance alone.
    """
    told = {name: tables[name] for name in _WORDS if name in tables and says_something(tables[name]["counts"])}
    used = [sum(column) > 0 for column in zip(*tables["site"]["counts"], strict=True)]
    if sum(used) == 1:
        return f"Expert {used.index(True)} spoke for every test scan, so there is nothing to compare."
    if not told:
        return "The test scans come from one site and name no protocol or grade, so nothing shows whom experts follow."
    first, *others = sorted(told, key=lambda name: -_above_chance(told[name]))
    lead, best = _named(first, told[first]), _above_chance(told[first])
    if best < _HARDLY:
        return f"Experts hardly follow {', '.join([lead, *(_named(name, told[name]) for name in others)])}."
    alike = [name for name in others if best - _above_chance(told[name]) < _ALIKE]
    parts = [f"about as much as {_named(name, told[name])}" for name in alike]
    parts += [f"more than {_named(name, told[name])}" for name in others if name not in alike]
    return " ".join(["Experts follow", lead, " and ".join(parts)]).strip() + "."


def _named(name: str, table: Mapping[str, Any]) -> str:
    return f"the {_WORDS[name]} (NMI {table['nmi']:.2f}; chance {table['nmi_by_chance'] or 0:.2f})"


def _above_chance(table: Mapping[str, Any]) -> float:
    """The adjusted mutual information: 0 by chance, 1 when each side fixes the other."""
    chance = table["nmi_by_chance"] or 0.0
    return (table["nmi"] - chance) / (1 - chance) if chance < 1 else 0.0


def _keys(record: RunRecord) -> Any:
    router = record.config.get("router")
    return router.get("keys") if isinstance(router, Mapping) else None


def _warnings(routing: Mapping[str, Any]) -> list[str]:
    """A sentence for each expert that was without training scans in some round."""
    rounds, sentences = routing["counted_rounds"], []
    for expert, times in enumerate(routing["dead_rounds"]):
        if times and times == rounds:
            sentences.append(f"Expert {expert} is dead: no training scan ever reached it, so it has learnt nothing.")
        elif times:
            end = ", the last one among them" if expert in routing["dead"] else ""
            sentences.append(f"Expert {expert} had no training scan in {times} of {rounds} merged rounds{end}.")
    return sentences


def _heat_map(name: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """A contingency table, each row shaded by its experts' shares, so that a small site shows as well as a large."""
    title, lead = _TITLES[name]
    rows = [
        (label, [(_count(value), round(100 * value / sum(masses)) if value else 0) for value in masses])
        for label, masses in zip(table["rows"], table["counts"], strict=True)
    ]
    nothing = None if says_something(table["counts"]) else "only one value on one side, so nothing can show"
    return {"title": title, "lead": lead, "rows": rows, "table": table, "nothing": nothing}


def _count(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}"


def _knock_out_rows(routing: Mapping[str, Any]) -> list[tuple[str, str, dict[int, Any], Mapping[str, Any]]]:
    """Site, role, the measured experts and the whole site."""
    return [
        (site, found["role"], {line["expert"]: line for line in found["experts"]}, found)
        for site, found in routing["knock_out"]["sites"].items()
    ]


def _curves(
    record: RunRecord, experts: Mapping[str, LineStyle], sites: Mapping[str, LineStyle]
) -> list[tuple[str, Markup]]:
    drawn = (
        ("Training scans of each expert", mass_curve(record.rounds, experts)),
        ("How widely each site uses the experts (bits)", spread_curve(record.rounds, sites)),
        ("Routing entropy that the sites report", metric_curve(record.rounds, "routing_entropy", sites, "entropy")),
    )
    return [(name, Markup(svg)) for name, svg in drawn if svg]  # drawn here; matplotlib escapes its text


def _pictures(record: RunRecord) -> list[tuple[int, int, list[tuple[str, str]]]]:
    """Expert, how many pictures there are of it, and a few with their sites: every site once before any twice."""
    return [
        (expert, len(found), [(site, data_uri(path)) for site, path in _spread(found)[:PICTURES_SHOWN]])
        for expert, found in record.expert_pictures.items()
    ]


def _spread(found: Sequence[tuple[str, Path]]) -> list[tuple[str, Path]]:
    by_site: dict[str, list[tuple[str, Path]]] = {}
    for site, path in sorted(found, key=lambda entry: site_order(entry[0])):
        by_site.setdefault(site, []).append((site, path))
    return [entry for turn in zip_longest(*by_site.values()) for entry in turn if entry]
