# SPDX-License-Identifier: Apache-2.0
"""What a method's runs cost: compute, bytes, and how soon they are as good as federated averaging becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from fedpac_me.comparison.datasets import DataSet
from fedpac_me.comparison.figures import RunFigures, first_at_least, last_within
from fedpac_me.comparison.methods import Method, compute_of

TARGET = "fedavg"
"""The method whose final validation Dice the others are timed to, where it is compared."""

WHAT_SECONDS_ARE = (
    "Seconds are those of the rounds (training, validation, merge) in one process, the sites one after another; the "
    "evaluation at the end is left out. Runs beside each other slow each other down, so seconds are as comparable as "
    "the machine was evenly busy."
)
Place = tuple[str, int]
"""Data set and seed."""


def compute(
    methods: Sequence[Method], data: Sequence[DataSet], reference: str
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """What each method trains on at each data set, and whether it is as much as the reference does.

    Returns:
        ``{method: {data: {"sentence", "same"}}}``, and what there is to say of it: one sentence, and one for every
        method that differs.
    """
    found = {m.name: {d.name: compute_of(m.config, d.training_sites) for d in data} for m in methods}
    table = {
        name: {
            place: {"sentence": made.sentence, "same": made.voxels == found[reference][place].voxels}
            for place, made in places.items()
        }
        for name, places in found.items()
    }
    odd = [(name, place) for name, places in table.items() for place, made in places.items() if not made["same"]]
    told = "; ".join(f"{place}: {made.sentence}" for place, made in found[reference].items())
    lines = [f"{'Every' if not odd else 'Not every'} method trains on as much as {reference} does ({told})."]
    lines += [f"{name} on {place} trains on another amount: {found[name][place].sentence}." for name, place in odd]
    return table, lines


def resolution(methods: Sequence[Method]) -> str:
    """How finely the rounds in which a validation Dice is reached are known."""
    every = sorted({method.config.evaluation.validation_every for method in methods})
    return (
        f"Validation Dice is the mean over the sites that train, measured every {' or '.join(map(str, every))} rounds "
        "and at the end; what is reached in between is counted at the next measurement."
    )


def time_to_target(runs: Sequence[RunFigures], targets: Sequence[RunFigures]) -> dict[str, Any] | None:
    """Rounds and seconds until the validation Dice with which ``TARGET`` ended on the same data and seed.

    Returns:
        ``of`` runs that have such a target, ``reached`` by how many, and the means over those of ``rounds`` and
        ``seconds``, ``None`` where none did; nothing where there is no target.
    """
    wanted = {_place(run): run.validation for run in targets if run.validation is not None}
    timed = [(run, wanted[_place(run)]) for run in runs if run.curve and _place(run) in wanted]
    if not timed:
        return None
    points = [point for run, dice in timed if (point := first_at_least(run.curve, dice)) is not None]
    return {
        "of": len(timed),
        "reached": len(points),
        "rounds": fmean(point.rounds for point in points) if points else None,
        "seconds": fmean(point.seconds for point in points) if points else None,
    }


def at_equal_time(runs: Mapping[str, Sequence[RunFigures]]) -> dict[str, dict[str, float] | None]:
    """Each method's last measured validation Dice when the fastest of a data set and seed had finished.

    Only data sets and seeds on which every method has a run are looked at, so that means are over the same ones.

    Returns:
        Per method means over its runs: ``limit`` (seconds), ``rounds`` and ``dice``, or ``None`` without such runs.
    """
    by_place = {name: {_place(run): run for run in own if run.curve} for name, own in runs.items()}
    common = set.intersection(*map(set, by_place.values())) if by_place else set()
    limits = {place: min(own[place].curve[-1].seconds for own in by_place.values()) for place in common}
    answers: dict[str, dict[str, float] | None] = {}
    for name, own in by_place.items():
        points = {place: last_within(own[place].curve, limit) for place, limit in limits.items()}
        known = {place: point for place, point in points.items() if point is not None}
        answers[name] = (
            {
                "limit": fmean(limits[place] for place in known),
                "rounds": fmean(point.rounds for point in known.values()),
                "dice": fmean(point.dice for point in known.values()),
            }
            if known
            else None
        )
    return answers


def _place(run: RunFigures) -> Place:
    return run.data, run.seed
