# SPDX-License-Identifier: Apache-2.0
"""``comparison.html``: what ``comparison.json`` says, laid out for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes

from fedpac_me.comparison.spread import spread_words
from fedpac_me.evaluation.curves import LineStyle, line_styles
from fedpac_me.evaluation.participation import ABSENT
from fedpac_me.labels import REGIONS
from fedpac_me.page.drawing import inline_svg
from fedpac_me.page.environment import page_environment

SITE_FIGURES = (
    ("Dice", "dice", "{:.3f}"),
    ("Dice, cases with the region", "dice_nonempty", "{:.3f}"),
    ("HD95 (mm)", "hd95", "{:.1f}"),
    ("Lesion-wise Dice", "lesionwise_dice", "{:.3f}"),
    ("Lesion-wise HD95 (mm)", "lesionwise_hd95", "{:.1f}"),
)
"""Title, name and form of the figures that are shown for every site and region."""

_AXES = {"rounds": "round", "seconds": "seconds of the rounds"}


def render_page(comparison: Mapping[str, Any]) -> str:
    """The whole page as HTML, self-contained; every text from a configuration or a run is escaped."""
    environment = page_environment(__package__)
    environment.filters.update(
        dice=_form("{:.3f}"), change=_form("{:+.3f}"), p=_form("{:.4f}"), whole=_form("{:.0f}"), tenths=_form("{:.1f}"),
        percent=lambda value: ABSENT if value is None else f"{100 * value:.2f} %",
        mb=lambda value: ABSENT if value is None else f"{value / 1e6:.1f}",
        spread=lambda found: spread_words(found, ABSENT),
    )  # fmt: skip
    styles = line_styles(list(comparison["methods"]))
    return environment.get_template("comparison.html").render(
        comparison=comparison,
        methods=comparison["methods"],
        keys=(*REGIONS, "mean"),
        figures=SITE_FIGURES,
        kinds=comparison["kinds"],
        test_of=_test_of,
        protocols={kind: _protocols(found) for kind, found in comparison["kinds"].items() if _protocols(found)},
        cell=lambda value, pattern: _form(pattern)(value),
        styles=styles,
        curves=_curves(comparison, styles),
    )


def _test_of(kind: Mapping[str, Any], method: str, sites: str) -> Mapping[str, Any] | None:
    """The reference has none against itself."""
    return next((test for test in kind["tests"] if (test["method"], test["sites"]) == (method, sites)), None)


def _protocols(kind: Mapping[str, Any]) -> list[str]:
    return sorted({name for method in kind["methods"].values() for name in method["unseen_by_protocol"]})


def _curves(comparison: Mapping[str, Any], styles: Mapping[str, LineStyle]) -> list[tuple[str, Markup]]:
    lines = {name: method["curve"] for name, method in comparison["methods"].items() if method["curve"]}
    # Drawn here; matplotlib escapes its text.
    return [(label, Markup(_drawing(lines, styles, by, label))) for by, label in _AXES.items()] if lines else []


def _drawing(
    lines: Mapping[str, list[Mapping[str, float]]], styles: Mapping[str, LineStyle], by: str, label: str
) -> str:
    def draw(axes: Axes) -> None:
        for name, points in lines.items():
            look = {"color": styles[name].colour, "linestyle": styles[name].dash, "linewidth": styles[name].width}
            xs, ys = [point[by] for point in points], [point["dice"] for point in points]
            axes.plot(xs, ys, marker="o", markersize=2.6, **look)
        axes.set_xlim(0)
        axes.set_ylim(0, 1)

    return inline_svg(draw, label, "mean validation Dice", salt=label)


def _form(pattern: str) -> Callable[[float | None], str]:
    return lambda value: ABSENT if value is None else pattern.format(value)
