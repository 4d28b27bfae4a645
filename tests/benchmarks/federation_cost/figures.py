# SPDX-License-Identifier: Apache-2.0
"""Numbers as the page shows them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median (smallest to largest)."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def megabytes(count: float) -> str:
    """10⁶ bytes."""
    return f"{count / 1e6:.2f}"


def mebibytes(count: float) -> str:
    """2²⁰ bytes."""
    return f"{count / 2**20:.0f}"
