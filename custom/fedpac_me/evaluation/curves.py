# SPDX-License-Identifier: Apache-2.0
"""Curves over the rounds, see ``page.drawing``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from fedpac_me.evaluation.contingency import entropy_bits
from fedpac_me.page.drawing import INK, inline_svg

_COLOURS = ("#3b82c4", "#e07a1f", "#2f9e6e", "#c9437a", "#8a63d2", "#b08a1e", "#2aa5b0", "#8b8f97")
_DASHES = ("solid", "dashed", "dotted")


@dataclass(frozen=True)
class LineStyle:
    """How one site is drawn in every curve and in the legend."""

    colour: str
    dash: str
    width: float = 1.5


def line_styles(sites: Sequence[str]) -> dict[str, LineStyle]:
    """One style a site: eight colours, then the same dashed, then dotted."""
    styles = [LineStyle(colour, dash) for dash in _DASHES for colour in _COLOURS]
    return dict(zip(sites, islice(cycle(styles), len(sites)), strict=True))


def metric_curve(
    rounds: Sequence[Mapping[str, Any]],
    metric: str,
    styles: Mapping[str, LineStyle],
    label: str,
    top: float | None = None,
) -> str | None:
    """Curve of one reported metric per site over the rounds, as SVG; ``None`` if no site reported it.

    Rounds without a value are bridged, since sites do not validate in every round.
    """
    lines = {
        site: _points(rounds, lambda entry, site=site: entry["metrics"].get(site, {}).get(metric)) for site in styles
    }
    return _draw(lines, styles, label, top)


def seconds_curve(rounds: Sequence[Mapping[str, Any]], styles: Mapping[str, LineStyle]) -> str | None:
    """Seconds of every round as a whole and of each accepted site's training, as SVG; ``None`` if none was noted."""
    lines = {site: _points(rounds, lambda entry, site=site: _site_seconds(entry, site)) for site in styles}
    lines[""] = _points(rounds, lambda entry: entry["seconds"])
    return _draw(lines, {**styles, "": LineStyle(INK, "solid", 2.4)}, "seconds", None)


def mass_curve(rounds: Sequence[Mapping[str, Any]], styles: Mapping[str, LineStyle]) -> str | None:
    """Training scans of each expert in every round, as SVG; ``None`` if the ledger has none.

    ``styles`` holds one name an expert, in their order.
    """
    lines = {
        name: _points(rounds, lambda entry, expert=expert: _mass(entry, expert)) for expert, name in enumerate(styles)
    }
    return _draw(lines, styles, "training scans", None)


def spread_curve(rounds: Sequence[Mapping[str, Any]], styles: Mapping[str, LineStyle]) -> str | None:
    """Entropy in bits of each accepted site's training scans over the experts, as SVG; ``None`` if none is known."""
    lines = {site: _points(rounds, lambda entry, site=site: _spread(entry, site)) for site in styles}
    return _draw(lines, styles, "bits", None)


def _mass(entry: Mapping[str, Any], expert: int) -> float | None:
    """As the server summed it; the sum of what it accepted where it did not write one. Nothing where none came."""
    if not entry["accepted"]:
        return None
    told = entry.get("experts") or {}
    vectors = [told["mass"]] if told.get("mass") else [line.get("expert_mass") or [] for line in entry["accepted"]]
    known = [vector[expert] for vector in vectors if expert < len(vector)]
    return sum(known) if known else None


def _spread(entry: Mapping[str, Any], site: str) -> float | None:
    masses = next((line.get("expert_mass") for line in entry["accepted"] if line["site"] == site), None)
    return entropy_bits(masses) if masses else None


def _site_seconds(entry: Mapping[str, Any], site: str) -> Any:
    return next((accepted["seconds"] for accepted in entry["accepted"] if accepted["site"] == site), None)


def _points(rounds: Sequence[Mapping[str, Any]], value_of: Any) -> list[tuple[int, float]]:
    found = [(entry["round"], value_of(entry)) for entry in rounds]
    return [
        (number, float(value))
        for number, value in found
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    ]


def _draw(
    lines: Mapping[str, list[tuple[int, float]]], styles: Mapping[str, LineStyle], label: str, top: float | None
) -> str | None:
    if not any(lines.values()):
        return None

    def draw(axes: Axes) -> None:
        for name in (name for name, points in lines.items() if points):
            rounds, values = zip(*lines[name], strict=True)
            look = {"color": styles[name].colour, "linestyle": styles[name].dash, "linewidth": styles[name].width}
            axes.plot(rounds, values, marker="o", markersize=2.6, **look)
        axes.set_ylim(min(0, axes.get_ylim()[0]) if axes.dataLim.y0 < 0 else 0, top)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    return inline_svg(draw, "round", label, salt=label)
