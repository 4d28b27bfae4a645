# SPDX-License-Identifier: Apache-2.0
"""A diagram as inline SVG: no external resource, and ink that follows the page's light or dark theme."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK = "#7a7f87"
"""Stands in for the page's own ink until the drawing is in the page."""


def inline_svg(draw: Callable[[Axes], object], x_label: str, y_label: str, salt: str) -> str:
    """What ``draw`` puts between two labelled axes. The same drawing and ``salt`` give the same bytes."""
    # Text as text: small, and in the page's font. The salt tells the ids of one drawing in a page from another's.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "font.family": "sans-serif", "font.size": 9}):
        figure = Figure(figsize=(4.6, 2.9), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        axes.set_xlabel(x_label, color=INK)
        axes.set_ylabel(y_label, color=INK)
        axes.tick_params(colors=INK, labelcolor=INK)
        axes.grid(color=INK, alpha=0.2, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(INK)
        text = StringIO()
        FigureCanvasSVG(figure)
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing = text.getvalue()
    return drawing[drawing.index("<svg") :].replace(INK, "currentColor")
