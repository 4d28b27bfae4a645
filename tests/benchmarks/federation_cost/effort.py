# SPDX-License-Identifier: Apache-2.0
"""How long to measure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """Counts of everything that is repeated.

    ``sizes``, ``client_sizes``, ``link_sizes``: of the network, see ``job.WIDTHS``.
    """

    repeats: int = 5
    rounds: int = 10
    sizes: tuple[str, ...] = ("0.3 M", "4.8 M")
    memory_rounds: int = 200
    warm_up_rounds: int = 40
    clients: tuple[int, ...] = (5, 20, 50)
    client_sizes: tuple[str, ...] = ("0.3 M", "4.8 M", "29.6 M")
    client_rounds: int = 4
    link_sizes: tuple[str, ...] = ("0.3 M", "4.8 M", "29.6 M")
    link_rounds: int = 3


FULL = Effort()
SHORT = Effort(
    repeats=1,
    rounds=4,
    sizes=("0.3 M",),
    memory_rounds=12,
    warm_up_rounds=2,
    clients=(5,),
    client_sizes=("0.3 M", "4.8 M"),
    client_rounds=3,
    link_sizes=("0.3 M",),
    link_rounds=2,
)
"""Shows that everything works; its figures mean little."""
