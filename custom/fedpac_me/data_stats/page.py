# SPDX-License-Identifier: Apache-2.0
"""The page of the data statistics: ``data_stats.json`` laid out for ``page.html``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes

from fedpac_me.data_stats.features import GRADES, PARTS, SPACING, VOLUMES
from fedpac_me.data_stats.summary import shared_sentences
from fedpac_me.evaluation.curves import LineStyle, line_styles
from fedpac_me.labels import MODALITIES
from fedpac_me.page.drawing import inline_svg
from fedpac_me.page.environment import page_environment

_AXES = {"raw": "raw intensity", "z": "z-score"}


def render_page(report: Mapping[str, Any]) -> str:
    """The whole page as HTML, self-contained; every text from a site is escaped."""
    environment = page_environment(__package__)
    environment.filters["figure"] = lambda value, digits=0: figure(value, digits, "–")  # noqa: RUF001  en dash
    styles = line_styles(list(report["sites"]))
    return environment.get_template("page.html").render(
        report=report,
        sentences=shared_sentences(report),
        rows={**report["sites"], "All sites": report["all"]},
        styles=styles,
        drawn={unit: _drawn(report, unit, styles) for unit in _AXES},
        parts=PARTS,
        grades=GRADES,
        modalities=MODALITIES,
        volumes=VOLUMES,
        spacing=SPACING,
    )


def figure(value: float | None, digits: int, absent: str = "-") -> str:
    """A number as tables show it."""
    return absent if value is None else f"{value:.{digits}f}"


def _drawn(report: Mapping[str, Any], unit: str, styles: Mapping[str, LineStyle]) -> list[tuple[str, Markup]]:
    """Modality and drawing of each histogram that there is; matplotlib escapes its text."""
    histograms = {modality: report["histograms"][modality][unit] for modality in MODALITIES}
    return [
        (modality, Markup(_drawing(found, styles, f"{modality}, {_AXES[unit]}")))
        for modality, found in histograms.items()
        if found
    ]


def _drawing(histogram: Mapping[str, Any], styles: Mapping[str, LineStyle], label: str) -> str:
    """One line a site."""

    def draw(axes: Axes) -> None:
        for site, shares in histogram["sites"].items():
            look = styles[site]
            axes.stairs(shares, histogram["edges"], color=look.colour, linestyle=look.dash, linewidth=look.width)
        axes.set_ylim(0)

    return inline_svg(draw, label, "share of brain voxels", salt=label)
