# SPDX-License-Identifier: Apache-2.0
"""From what FLARE's controller has put together to ``data_stats.json``: the machine's view of the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedpac_me.data_stats.features import CASES, DATA_SET, GRADES, PARTS, RAW, SPACING, UNUSABLE, VOLUMES, Z_SCORES
from fedpac_me.labels import MODALITIES

VERSION = 1
ALL = "Global"
"""FLARE's name for all sites together."""

Statistics = Mapping[str, Any]
"""Values by feature, statistic, site and data set. Nothing but names known here and finite numbers is taken from it."""


def summarise(
    statistics: Statistics,
    answered: Sequence[str],
    silent: Mapping[str, str],
    shared: Mapping[str, Mapping[str, int]],
    privacy: Mapping[str, float],
) -> dict[str, Any]:
    """The report as plain JSON types.

    Args:
        statistics: what FLARE's ``JsonStatsFileWriter`` has written.
        answered: the sites that sent statistics, whatever the filters left of them.
        silent: those that could not answer, or not everything, and why.
        shared: how many subjects of a site are at another, too.
        privacy: the settings of the filters.
    """
    shown = {site: found for site in sorted(answered) if (found := _site(statistics, site))["cases"] is not None}
    compared = [site for site in shown if site in shared]
    return {
        "version": VERSION,
        "privacy": dict(privacy),
        "sites": shown,
        "all": _site(statistics, ALL),
        "withheld": sorted(set(answered) - shown.keys() - silent.keys()),
        "silent": {site: silent[site] for site in sorted(silent)},
        "histograms": {
            modality: {
                "raw": _histograms(statistics, RAW[modality], shown),
                "z": _histograms(statistics, Z_SCORES[modality], shown),
            }
            for modality in MODALITIES
        },
        "shared_subjects": {
            site: {other: shared[site].get(other, 0) for other in compared if other != site} for site in compared
        },
    }


def shared_sentences(report: Mapping[str, Any]) -> list[str]:
    """One for each site with subjects of another's, or one that says that there are none or nothing to compare."""
    if len(report["shared_subjects"]) < 2:
        return ["There are not two sites whose images could be compared."]
    found = [
        f"{count} of {report['sites'][site]['cases']} cases of {site} {'is' if count == 1 else 'are'} at {other}, too."
        for site, others in report["shared_subjects"].items()
        for other, count in others.items()
        if count
    ]
    return found or ["No two sites hold the same images."]


def _site(statistics: Statistics, site: str) -> dict[str, Any]:
    def figure(feature: str, statistic: str) -> float | None:
        value = _entry(statistics, feature, statistic, site)
        return value if _is_number(value) else None

    def spread(feature: str) -> dict[str, Any]:
        return {"cases": figure(feature, "count"), "mean": figure(feature, "mean"), "sd": figure(feature, "stddev")}

    return {
        "cases": figure(CASES, "count"),
        "unusable": figure(UNUSABLE, "sum"),
        "parts": {part: figure(part, "sum") for part in PARTS},
        "grades": {grade: figure(grade, "count") for grade in GRADES},
        "modalities": {modality: spread(RAW[modality]) for modality in MODALITIES},
        "volumes_ml": {name: spread(name) for name in VOLUMES},
        "spacing_mm": {name: spread(name) for name in SPACING},
    }


def _histograms(statistics: Statistics, feature: str, sites: Iterable[str]) -> dict[str, Any]:
    """Edges of the bins, which all sites share, and by site the share of its voxels in each; empty where none came."""
    edges: list[float] = []
    shares: dict[str, list[float]] = {}
    for site in (*sites, ALL):
        bins = _entry(statistics, feature, "histogram", site)
        if not bins or not all(_is_number(value) for each in bins for value in each):
            continue
        total = sum(count for _, _, count in bins)
        found = [bins[0][0], *(high for _, high, _ in bins)]
        if total > 0 and found == (edges or found):
            edges = found
            shares[site] = [round(count / total, 6) for _, _, count in bins]
    everyone = shares.pop(ALL, None)
    return {"edges": edges, "all": everyone, "sites": shares} if shares else {}


def _entry(statistics: Statistics, feature: str, statistic: str, site: str) -> Any:
    return statistics.get(feature, {}).get(statistic, {}).get(site, {}).get(DATA_SET)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
