# SPDX-License-Identifier: Apache-2.0
"""How many cases a site may count for, so that no site has more than a share s of all that enter a merge.

N_1, N_2, … are the sites' cases. Each counts min(N_k, c), with c the one number for which the largest site has exactly
its share, c = s Σ min(N_k, c). With the m largest sites cut that is c = s (sum of the others) / (1 - s m). Fewer than
1/s sites cannot each have less than s: then all of them count the same, as much as the smallest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

_ROUNDING = 1e-9


def largest_count(cases: Sequence[float], share: float) -> float:
    """c: the most that any of the sites with these ``cases`` (at least one site) may count for.

    Where no site is above its share, c is no smaller than the largest of them.
    """
    ordered = sorted(cases, reverse=True)
    others = math.fsum(ordered)
    for cut, count in enumerate(ordered):
        # With the sites before this one cut to c, is this one within it? Before s m reaches 1 one is, or none is left.
        largest = share * others / (1 - share * cut)
        if count <= largest * (1 + _ROUNDING):
            return max(largest, count)
        others -= count
    return ordered[-1]


def most_above(share: float) -> int:
    """How many sites can be above a ``share`` at most, whatever their cases."""
    return math.floor(1 / share)
