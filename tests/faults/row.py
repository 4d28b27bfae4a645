# SPDX-License-Identifier: Apache-2.0
"""One line of the table of faults."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        fault: what goes wrong.
        expected: what this project does then.
        tests: pytest node ids below ``tests``; one with parameters only names that parameter.
        stock: names of faults in ``update_faults`` that FLARE's own aggregator is shown, or what is known of it.
    """

    number: int
    fault: str
    expected: str
    tests: tuple[str, ...]
    stock: tuple[str, ...] | str = ""
