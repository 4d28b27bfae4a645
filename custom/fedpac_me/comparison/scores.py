# SPDX-License-Identifier: Apache-2.0
"""What one method scores over its runs: Dice, spread, intervals, and by the unseen sites' protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from fedpac_me.comparison import significance
from fedpac_me.comparison.figures import SEEN, UNSEEN, RunFigures
from fedpac_me.comparison.spread import spread


def dice_of(summary: Mapping[str, Any] | None) -> float | None:
    """The mean Dice that a summary of sites names, where there is one."""
    return summary["dice"]["mean"] if summary else None


def dice_scores(runs: Sequence[RunFigures]) -> dict[str, Any]:
    """``dice``, with its spread over runs, by cases that it is of; and its ``intervals``."""
    return {
        "dice": {
            "validation": spread([run.validation for run in runs]),
            SEEN: spread([dice_of(run.report["mean"]) for run in runs]),
            "worst": spread([dice_of(run.report["worst_site"]) for run in runs]),
            UNSEEN: spread([dice_of(run.report["unseen"]) for run in runs]),
        },
        "intervals": {sites: significance.interval(runs, sites) for sites in (SEEN, UNSEEN)},
    }


def by_protocol(runs: Sequence[RunFigures]) -> dict[str, float]:
    """Mean Dice at the unseen sites by the protocol of the scans, mean over the runs that have it."""
    names = sorted({name for run in runs for name in run.protocols})
    return {name: fmean(run.protocols[name] for run in runs if name in run.protocols) for name in names}
