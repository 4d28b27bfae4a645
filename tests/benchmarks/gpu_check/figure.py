# SPDX-License-Identifier: Apache-2.0
"""One line of the page: what was measured, and what it should be."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """``ours`` and ``other`` in ``unit``, measured in turns; ``value`` is judged by ``limit``, where there is one.

    ``at_least`` turns the limit from a ceiling into a floor.
    """

    what: str
    value: float
    unit: str = "ratio"
    limit: float | None = None
    at_least: bool = False
    ours: float | None = None
    other: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the value keeps the limit; ``None`` without one."""
        if self.limit is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON types."""
        return asdict(self) | {"met": self.met}

    def row(self) -> str:
        """A line of a Markdown table: what, ours, the other, value, target, met."""
        target = "" if self.limit is None else f"{'≥' if self.at_least else '≤'} {self.limit:g}"
        met = {None: "", True: "yes", False: "**no**"}[self.met]
        sides = ["" if side is None else f"{side:.4g}" for side in (self.ours, self.other)]
        return f"| {self.what} | {' | '.join(sides)} | {self.value:.4g} {self.unit} | {target} | {met} |"


def slower_by(what: str, seconds: tuple[float, float], limit: float) -> Figure:
    """The ratio of two times, ours first, which should be at most ``limit``."""
    ours, other = seconds
    return Figure(what, ours / other, limit=limit, ours=ours, other=other)
