# SPDX-License-Identifier: Apache-2.0
"""The page of the data statistics: ``data_stats.json`` laid out for ``page.html``."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from importlib import resources
from io import BytesIO
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from fedpac_me.data_stats.features import GRADES, PARTS, SPACING, VOLUMES
from fedpac_me.data_stats.summary import shared_sentences
from fedpac_me.evaluation.curves import LineStyle, line_styles
from fedpac_me.labels import MODALITIES

_INK = "#7a7f87"  # readable on light and on dark paper
_AXES = {"raw": "raw intensity", "z": "z-score"}


def render_page(report: Mapping[str, Any]) -> str:
    """The whole page as HTML, self-contained; every text from a site is escaped."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(lambda name: resources.files(__package__).joinpath(name).read_text(encoding="utf-8")),
    )
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


def _drawn(report: Mapping[str, Any], unit: str, styles: Mapping[str, LineStyle]) -> list[tuple[str, str]]:
    """Modality and picture of each histogram that there is."""
    histograms = {modality: report["histograms"][modality][unit] for modality in MODALITIES}
    return [
        (modality, _picture(found, styles, f"{modality}, {_AXES[unit]}"))
        for modality, found in histograms.items()
        if found
    ]


def _picture(histogram: Mapping[str, Any], styles: Mapping[str, LineStyle], label: str) -> str:
    """One line a site, as an SVG in a URI."""
    # Salted ids: the same bytes for the same report.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": label, "font.family": "sans-serif", "font.size": 9}):
        drawing = Figure(figsize=(4.6, 2.9), layout="constrained")
        axes = drawing.subplots()
        for site, shares in histogram["sites"].items():
            look = styles[site]
            axes.stairs(shares, histogram["edges"], color=look.colour, linestyle=look.dash, linewidth=look.width)
        axes.set_xlabel(label, color=_INK)
        axes.set_ylabel("share of brain voxels", color=_INK)
        axes.set_ylim(0)
        axes.tick_params(colors=_INK, labelcolor=_INK)
        axes.grid(color=_INK, alpha=0.2, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_INK)
        FigureCanvasSVG(drawing)
        content = BytesIO()
        drawing.savefig(content, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return f"data:image/svg+xml;base64,{b64encode(content.getvalue()).decode()}"
