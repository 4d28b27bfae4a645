# SPDX-License-Identifier: Apache-2.0
"""``comparison.json``: every figure of a comparison, from the runs that are there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from fedpac_me.comparison import cost, significance
from fedpac_me.comparison.figures import SEEN, UNSEEN, RunFigures
from fedpac_me.comparison.identity import run_code
from fedpac_me.comparison.kinds import by_kind
from fedpac_me.comparison.methods import Method
from fedpac_me.comparison.plan import PlannedRun
from fedpac_me.comparison.scores import dice_of, dice_scores
from fedpac_me.evaluation.lesions import LESION_DEFINITION
from fedpac_me.evaluation.metrics import CONVENTION
from fedpac_me.evaluation.summary import LABEL_FIGURES, average, site_order
from fedpac_me.evaluation.surface import HD95_DEFINITION
from fedpac_me.hardware import machine

SCHEMA = 1
CHOICE = (
    "Settings may be chosen by the validation Dice, which no test case enters, and time is measured by it; every other "
    "score is of the final model on test cases, which nothing is chosen by."
)
SITES_COUNT_ALIKE = (
    "Means are over cases of a site, then over sites, then over runs; the worst site is that of each run. ± is the "
    "standard deviation over runs."
)


def build_comparison(
    planned: Sequence[PlannedRun], runs: Sequence[RunFigures], failed: Collection[str], reference: str
) -> dict[str, Any]:
    """Everything that the page and the tables show; a figure that does not exist is ``None``.

    Args:
        planned: every run of the comparison.
        runs: those that are there.
        failed: names of the folders of those that failed. Why is for whoever ran them: it may name files and cases.
        reference: the method that the others are tested against.
    """
    methods = list({run.method.name: run.method for run in planned}.values())
    data = list({run.data.name: run.data for run in planned}.values())
    by_method = {method.name: [run for run in runs if run.method == method.name] for method in methods}
    compute, about_compute = cost.compute(methods, data, reference)
    equal = cost.at_equal_time(by_method)
    found = significance.paired_tests(by_method, reference)
    seeds = sorted({run.seed for run in planned})
    return {
        "schema": SCHEMA,
        "reference": reference,
        "target": cost.TARGET if cost.TARGET in by_method else None,
        "seeds": seeds,
        "data": {one.name: one.facts for one in data},
        "code": run_code(),
        "hardware": machine(),
        "methods": {
            method.name: {
                **_described(method),
                "compute": compute[method.name],
                **_scored(by_method[method.name]),
                "to_target": cost.time_to_target(by_method[method.name], by_method.get(cost.TARGET, ())),
                "at_equal_time": equal[method.name],
                "failed": _failed(method.name, planned, failed),
            }
            for method in methods
        },
        "kinds": by_kind(data, by_method, reference),
        "nothing": _nothing(runs),
        "tests": found,
        "sentences": [*significance.sentences(found, reference), *about_compute, *_missing(planned, failed)],
        "definitions": [
            CHOICE, SITES_COUNT_ALIKE, f"{CONVENTION}.", f"{HD95_DEFINITION}.", f"{LESION_DEFINITION}.",
            _small_parts(methods),
            significance.WHAT_IS_DRAWN, *([significance.ONE_SEED] if len(seeds) == 1 else []),
            significance.WHAT_IS_TESTED, cost.resolution(methods), cost.WHAT_SECONDS_ARE,
        ],
    }  # fmt: skip


def _small_parts(methods: Sequence[Method]) -> str:
    limits = sorted({method.config.evaluation.small_parts_mm3 for method in methods})
    up_to = " or ".join(f"{limit:g}" for limit in limits)
    return f"Connected parts of a predicted region of up to {up_to} mm³ are left out, as each method's settings say."


def site_rows(runs: Sequence[RunFigures]) -> list[dict[str, Any]]:
    """One row for every run and site: what its summary says, flat."""
    rows = []
    for run in runs:
        for site, summary in run.report["sites"].items():
            row: dict[str, Any] = {"method": run.method, "data": run.data, "seed": run.seed, "site": site}
            row |= {"role": summary["role"], "cases": summary["cases"]}
            for figure in LABEL_FIGURES:
                row |= _flat(figure, summary[figure])
            rows.append(row)
    return rows


def _flat(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {name: value}
    return {key: leaf for part, inner in value.items() for key, leaf in _flat(f"{name}_{part}", inner).items()}


def _described(method: Method) -> dict[str, Any]:
    return {"title": method.config.title, "file": method.path.name, "rounds": method.config.federation.rounds}


def _scored(runs: Sequence[RunFigures]) -> dict[str, Any]:
    """Figures of one method over its runs."""
    return {
        "runs": [_run(run) for run in runs],
        **dice_scores(runs),
        SEEN: _averaged([run.report["mean"] for run in runs]),
        UNSEEN: _averaged([run.report["unseen"] for run in runs]),
        "sites": _sites(runs),
        "bytes_up": _mean([run.bytes_up for run in runs]),
        "bytes_down": _mean([run.bytes_down for run in runs]),
        "seconds": _mean([run.seconds for run in runs]),
        "curve": _curve(runs),
    }


def _run(run: RunFigures) -> dict[str, Any]:
    worst = run.report["worst_site"]
    return {
        "data": run.data,
        "seed": run.seed,
        "folder": run.folder,
        "config_hash": run.config_hash,
        "model_hash": run.model_hash,
        "rounds": run.rounds,
        "seconds": run.seconds,
        "bytes_up": run.bytes_up,
        "bytes_down": run.bytes_down,
        "validation_dice": run.validation,
        "test_dice": {
            SEEN: dice_of(run.report["mean"]),
            "worst": dice_of(worst),
            "worst_site": worst["site"] if worst else None,
            UNSEEN: dice_of(run.report["unseen"]),
        },
        "curve": [asdict(point) for point in run.curve],
    }


def _sites(runs: Sequence[RunFigures]) -> dict[str, dict[str, Any]]:
    """By data set and site, averaged over seeds."""
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for run in runs:
        for site, summary in run.report["sites"].items():
            found.setdefault(run.data, {}).setdefault(site, []).append(summary)
    return {
        data: {
            site: {"role": summaries[0]["role"], "cases": summaries[0]["cases"], **average(summaries)}
            for site, summaries in sorted(sites.items(), key=lambda item: site_order(item[0]))
        }
        for data, sites in found.items()
    }


def _curve(runs: Sequence[RunFigures]) -> list[dict[str, float]]:
    """Mean over runs at each number of rounds that all of them measured."""
    by_rounds = [{point.rounds: point for point in run.curve} for run in runs if run.curve]
    common = sorted(set.intersection(*map(set, by_rounds))) if by_rounds else []
    return [
        {
            "rounds": rounds,
            "seconds": fmean(points[rounds].seconds for points in by_rounds),
            "dice": fmean(points[rounds].dice for points in by_rounds),
        }
        for rounds in common
    ]


def _nothing(runs: Sequence[RunFigures]) -> dict[str, Any]:
    """What a prediction without any tumour scores on the same test cases: Dice and voxel accuracy."""
    groups = {SEEN: [run.report["mean"] for run in runs], UNSEEN: [run.report["unseen"] for run in runs]}
    averaged = {sites: _averaged(found) for sites, found in groups.items()}
    worst = [
        min(site["null_predictor"]["dice"]["mean"] for site in trained)
        for run in runs
        if (trained := [site for site in run.report["sites"].values() if site["role"] == "train"])
    ]
    return {
        **{sites: found["null_predictor"] if found else None for sites, found in averaged.items()},
        "worst": _mean(worst),
    }


def _failed(method: str, planned: Sequence[PlannedRun], failed: Collection[str]) -> list[dict[str, Any]]:
    return [
        {"data": run.data.name, "seed": run.seed}
        for run in planned
        if run.method.name == method and run.folder.name in failed
    ]


def _missing(planned: Sequence[PlannedRun], failed: Collection[str]) -> list[str]:
    return [f"{run.title} failed and is in no figure." for run in planned if run.folder.name in failed]


def _averaged(groups: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    known = [group for group in groups if group]
    if not known:
        return None
    return {"sites": known[0]["sites"], "cases": known[0]["cases"], **average(known)}


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
