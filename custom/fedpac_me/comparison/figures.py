# SPDX-License-Identifier: Apache-2.0
"""What a kept run says of itself: its validation curve, its cost, its scores on test cases."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from fedpac_me.comparison.plan import PlannedRun
from fedpac_me.errors import InputError
from fedpac_me.evaluation.report import CSV_NAME, JSON_NAME
from fedpac_me.evaluation.statistics import CaseKey, read_cases
from fedpac_me.storage import read_json

SEEN, UNSEEN = "seen", "unseen"
ROLES = {SEEN: "train", UNSEEN: "evaluate"}


@dataclass(frozen=True)
class Point:
    """Mean validation Dice over the sites that train, after ``rounds`` rounds and ``seconds`` of them."""

    rounds: int
    seconds: float
    dice: float


@dataclass(frozen=True)
class RunFigures:
    """One run.

    Attributes:
        curve: of the validation Dice, its last point that of the model that is judged at the end.
        seconds: of all rounds, evaluation left out.
        cases: mean Dice over regions of each test case, by ``SEEN`` and ``UNSEEN``.
        protocols: the same as means over the unseen sites' cases of each protocol, where they say theirs.
        report: its ``report.json``.
    """

    method: str
    data: str
    seed: int
    folder: str
    config_hash: str
    model_hash: str
    rounds: int
    seconds: float
    bytes_up: int
    bytes_down: int
    curve: tuple[Point, ...]
    cases: dict[str, dict[CaseKey, float]]
    protocols: dict[str, float]
    report: dict[str, Any]

    @property
    def validation(self) -> float | None:
        """Validation Dice of the final model; ``None`` where no site has validation cases."""
        return self.curve[-1].dice if self.curve else None


def read_figures(run: PlannedRun) -> RunFigures:
    """The figures of a run that is there.

    Raises:
        InputError: its folder is damaged.
    """
    folder = run.folder
    try:
        report, told = read_json(folder / JSON_NAME), read_json(folder / "run.json")
        rounds, local = report["rounds"], told["config"]["federation"]["share"] == "nothing"
        cases = {name: case_dice(folder / CSV_NAME, report, role, local) for name, role in ROLES.items()}
        return RunFigures(
            method=run.method.name,
            data=run.data.name,
            seed=run.seed,
            folder=folder.name,
            config_hash=told["config_hash"],
            model_hash=told["model_hash"],
            rounds=len(rounds),
            seconds=sum(entry["seconds"] for entry in rounds),
            bytes_up=sum(entry["bytes_up"] for entry in rounds),
            bytes_down=sum(entry["bytes_down"] for entry in rounds),
            curve=_curve(rounds, told["validation"]),
            cases=cases,
            protocols=_by_protocol(folder / CSV_NAME, cases[UNSEEN]),
            report=report,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"The run {folder} cannot be read ({error}). Delete it; the same command makes it again."
        ) from None


def case_dice(path: Path, report: Mapping[str, Any], role: str, local: bool) -> dict[CaseKey, float]:
    """Mean Dice of each test case at the sites with this role under the model that is judged there.

    That is the final model or, where nothing was shared, a site's own; a site that never trained is then judged by the
    mean over all the models, as in ``summary.summarise_local``.
    """
    if not local:
        return read_cases(path, role=role)
    models = {name: read_cases(path, name, role) for name in report["models"]}
    if role == ROLES[SEEN]:
        return {key: dice for name, scores in models.items() for key, dice in scores.items() if key[0] == name}
    keys = {key for scores in models.values() for key in scores}
    return {key: fmean(scores[key] for scores in models.values() if key in scores) for key in sorted(keys)}


def _by_protocol(path: Path, dice: Mapping[CaseKey, float]) -> dict[str, float]:
    with open(path, encoding="utf-8", newline="") as file:
        protocols = {(row["site"], int(row["case"])): row.get("protocol") for row in csv.DictReader(file)}
    by_protocol: dict[str, list[float]] = {}
    for key, value in dice.items():
        if protocols.get(key):
            by_protocol.setdefault(str(protocols[key]), []).append(value)
    return {name: fmean(values) for name, values in sorted(by_protocol.items())}


def first_at_least(curve: Sequence[Point], dice: float) -> Point | None:
    """The first measured point that reaches ``dice``."""
    return next((point for point in curve if point.dice >= dice), None)


def last_within(curve: Sequence[Point], seconds: float) -> Point | None:
    """The last measured point that is not later than ``seconds``."""
    return next((point for point in reversed(curve) if point.seconds <= seconds), None)


def _curve(rounds: Sequence[Mapping[str, Any]], final: Mapping[str, float]) -> tuple[Point, ...]:
    """Of the sites that ``final`` names. A round reports the model that it received, that of all rounds before it."""
    points, seconds = [], 0.0
    for done, entry in enumerate(rounds):
        dice = [entry["metrics"][site]["dice_mean"] for site in final if "dice_mean" in entry["metrics"].get(site, {})]
        if dice:
            points.append(Point(done, seconds, fmean(dice)))
        seconds += entry["seconds"]
    return (*points, Point(len(rounds), seconds, fmean(final.values()))) if final else ()
