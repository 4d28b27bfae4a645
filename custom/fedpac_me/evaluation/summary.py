# SPDX-License-Identifier: Apache-2.0
"""From cases to sites, from sites to a run. A figure that does not exist is ``None``, never NaN."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from fedpac_me.evaluation.pair_matching import PAIR_MATCHING
from fedpac_me.labels import REGIONS

LABEL_FIGURES = (
    "dice", "dice_nonempty", "hd95", "hd95_nonempty", "lesionwise_dice", "lesionwise_hd95", "sensitivity",
    "specificity", "volume_error", "absolute_volume_error", "voxel_accuracy", "null_predictor",
)  # fmt: skip
"""What a summary can say of cases whose predicted labels are known."""

FIGURES = (*LABEL_FIGURES, "ece", "null_ece", PAIR_MATCHING)
"""What a site's summary says about its cases, beside its role and their number; the last three need the network."""


def summarise_site(role: str, cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean figures of one site over its cases, each a dict of ``case_metrics``.

    Returns:
        ``role``, ``cases`` and ``FIGURES``; ``…_nonempty`` counts only cases whose truth has the region and is ``None``
        where none has; ``volume_error`` lets too much and too little cancel, ``absolute_volume_error`` does not. A
        figure that some case lacks, as those of before there was one, is ``None``. The ``mean`` of a figure is over its
        regions.
    """
    return {
        "role": role,
        "cases": len(cases),
        "dice": _by_region(cases, "dice"),
        "dice_nonempty": _nonempty(cases, "dice"),
        "hd95": _by_region(cases, "hd95"),
        "hd95_nonempty": _nonempty(cases, "hd95"),
        "lesionwise_dice": _by_region(cases, "lesion_dice"),
        "lesionwise_hd95": _by_region(cases, "lesion_hd95"),
        "sensitivity": _by_region(cases, "sensitivity"),
        "specificity": _by_region(cases, "specificity"),
        "volume_error": _by_region(cases, "volume_error"),
        "absolute_volume_error": _by_region(cases, "volume_error", size=abs),
        "voxel_accuracy": _case_mean(case["voxel_accuracy"] for case in cases),
        "null_predictor": {
            "dice": _by_region(cases, "null_dice"),
            "voxel_accuracy": _case_mean(case["null_voxel_accuracy"] for case in cases),
        },
        "ece": _by_region(cases, "ece"),
        "null_ece": _by_region(cases, "null_ece"),
        PAIR_MATCHING: _case_mean(case.get(PAIR_MATCHING) for case in cases),
    }


def summarise_run(evaluations: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Summary of one model at every site, given ``{site: {"role": "train"|"evaluate", "cases": [...]}}``.

    Sites without cases are left out.

    Returns:
        ``sites``; ``mean``, the unweighted mean over sites that trained; ``worst_site`` of them, by mean Dice;
        ``spread``, by how much mean Dice the best of them is above it; ``unseen``, the unweighted mean over sites that
        only evaluate. All but the first are ``None`` without such a site.
    """
    return combine(
        {site: summarise_site(found["role"], found["cases"]) for site, found in evaluations.items() if found["cases"]}
    )


def summarise_local(models: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Summary of sites that shared nothing, given ``{model's site: {site: {"role", "cases"}}}``.

    A site that trained is judged by its own model; one that only evaluates, by the mean over all the models.
    Returns what ``summarise_run`` returns.
    """
    sites: dict[str, dict[str, Any]] = {}
    for site in {site for at_sites in models.values() for site in at_sites}:
        judged = {model: at_sites[site] for model, at_sites in models.items() if at_sites.get(site, {}).get("cases")}
        if judged and next(iter(judged.values()))["role"] == "train":
            judged = {model: found for model, found in judged.items() if model == site}
        if judged:
            summaries = [summarise_site(found["role"], found["cases"]) for found in judged.values()]
            sites[site] = summaries[0] | average(summaries)
    return combine(sites)


def combine(sites: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The run's summary from the sites' summaries; see ``summarise_run``."""
    ordered = {site: sites[site] for site in sorted(sites, key=site_order)}
    trained = {site: summary for site, summary in ordered.items() if summary["role"] == "train"}
    unseen = [summary for summary in ordered.values() if summary["role"] == "evaluate"]
    means = {site: mean for site in trained if (mean := trained[site]["dice"]["mean"]) is not None}
    worst = min(means, key=means.__getitem__, default=None)
    return {
        "sites": ordered,
        "mean": _group(list(trained.values())),
        "worst_site": {"site": worst, "dice": trained[worst]["dice"]} if worst is not None else None,
        "spread": max(means.values()) - means[worst] if worst is not None else None,
        "unseen": _group(unseen),
    }


def average(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Unweighted mean of ``FIGURES`` over summaries; a figure that some lack is averaged over the others."""
    return {figure: _average([summary[figure] for summary in summaries]) for figure in FIGURES}


def site_order(site: str) -> list[tuple[int, str]]:
    """Sort key that puts site-2 before site-10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", site)]


def _group(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    if not summaries:
        return None
    return {"sites": len(summaries), "cases": sum(summary["cases"] for summary in summaries)} | average(summaries)


def _average(values: Sequence[Any]) -> Any:
    if isinstance(values[0], Mapping):
        return {key: _average([value[key] for value in values]) for key in values[0]}
    return _known_mean(values)


def _by_region(
    cases: Sequence[Mapping[str, Any]], metric: str, size: Callable[[float], float] = float
) -> dict[str, float | None]:
    def known(value: float | None) -> float | None:
        return None if value is None else size(value)

    return _with_mean(
        {region: _case_mean(known(case.get(f"{metric}_{region}")) for case in cases) for region in REGIONS}
    )


def _nonempty(cases: Sequence[Mapping[str, Any]], metric: str) -> dict[str, float | None]:
    having = {region: [case for case in cases if case[f"truth_voxels_{region}"] > 0] for region in REGIONS}
    return _with_mean({region: _case_mean(case[f"{metric}_{region}"] for case in having[region]) for region in REGIONS})


def _with_mean(regions: dict[str, float | None]) -> dict[str, float | None]:
    return regions | {"mean": _known_mean(regions.values())}


def _case_mean(values: Iterable[float | None]) -> float | None:
    """Mean over cases; unknown as soon as one is, since leaving hard cases out would flatter the site."""
    found = list(values)
    whole = found and all(value is not None and math.isfinite(value) for value in found)
    return fmean(found) if whole else None


def _known_mean(values: Iterable[float | None]) -> float | None:
    return _case_mean(value for value in values if value is not None)
