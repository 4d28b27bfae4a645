# SPDX-License-Identifier: Apache-2.0
"""A figure over runs: mean and standard deviation, as numbers and in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, pstdev


def spread(values: Sequence[float | None]) -> dict[str, float] | None:
    """``mean``, ``sd`` and number of ``runs`` of the values that are known; ``None`` where none is."""
    known = [value for value in values if value is not None]
    return {"mean": fmean(known), "sd": pstdev(known), "runs": len(known)} if known else None


def spread_words(found: Mapping[str, float] | None, absent: str) -> str:
    """Mean ± standard deviation, the latter where there is more than one run; ``absent`` where there is none."""
    if found is None:
        return absent
    return f"{found['mean']:.3f}" + (f" ± {found['sd']:.3f}" if found["runs"] > 1 else "")
