# SPDX-License-Identifier: Apache-2.0
"""How sure a difference is: bootstrap intervals, paired tests, corrected for their number. All from ``cases.csv``."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import wilcoxon

from fedpac_me.errors import InputError
from fedpac_me.labels import REGIONS

CaseKey = tuple[str, int]
"""Site and number of a test case: the same case in every run on the same data."""


@dataclass(frozen=True)
class Interval:
    """A mean over sites, and where it lies in all but a share of the bootstrap's repetitions."""

    mean: float
    low: float
    high: float


def read_cases(path: Path, model: str = "final", role: str = "train") -> dict[CaseKey, float]:
    """Mean Dice over the regions of each case of a ``cases.csv`` at the sites with this role; empty without such sites.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["model"] == model and row["role"] == role]
        return {
            (row["site"], int(row["case"])): float(np.mean([float(row[f"dice_{region}"]) for region in REGIONS]))
            for row in rows
        }
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path} is not a cases.csv of this project ({error}). `fedpac-me report RUN` writes one."
        ) from None


def mean_over_sites(scores: Mapping[CaseKey, float]) -> float:
    """Unweighted mean of the sites' means: a small hospital counts as much as a large one."""
    return float(np.mean([values.mean() for values in _by_site(scores).values()]))


def bootstrap(
    scores: Mapping[CaseKey, float], confidence: float = 0.95, repetitions: int = 10_000, seed: int = 0
) -> Interval:
    """Percentile interval of ``mean_over_sites``; cases are drawn again within their site (Efron & Tibshirani 1993).

    The sites stay as they are: it says how sure the mean is for these hospitals, not for others.
    """
    return bootstrap_runs([[scores]], confidence, repetitions, seed)


def bootstrap_runs(
    federations: Sequence[Sequence[Mapping[CaseKey, float]]],
    confidence: float = 0.95,
    repetitions: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Percentile interval of the mean over several runs: over a federation's training seeds, then over federations.

    In every repetition a federation's seeds are drawn again, and the cases within each of its sites; all the seeds
    drawn are judged on the same cases. Federations and sites stay as they are. With one seed there is nothing to draw:
    the interval then lacks what another seed would change.

    Args:
        federations: one entry a data set; in it the same cases under the network of each training seed.
        confidence: share of the repetitions that the interval holds.
        repetitions: how often is drawn.
        seed: of the drawing.

    Raises:
        InputError: the runs of one federation hold different cases.
    """
    rng = np.random.default_rng(seed)
    drawn = [_repeated(runs, rng, repetitions) for runs in federations]
    low, high = np.quantile(np.mean(drawn, axis=0), [(1 - confidence) / 2, (1 + confidence) / 2])
    mean = np.mean([np.mean([mean_over_sites(scores) for scores in runs]) for runs in federations])
    return Interval(float(mean), float(low), float(high))


def _repeated(runs: Sequence[Mapping[CaseKey, float]], rng: np.random.Generator, repetitions: int) -> np.ndarray:
    """The mean over sites and seeds of one federation in every repetition."""
    for other in runs[1:]:
        difference(runs[0], other)
    by_site = [np.stack(values) for values in zip(*(_by_site(scores).values() for scores in runs), strict=True)]
    # How often each seed is drawn; a single one needs no drawing.
    counts = rng.multinomial(len(runs), [1 / len(runs)] * len(runs), size=repetitions) if len(runs) > 1 else None
    sites = []
    for values in by_site:
        weighted = values if counts is None else counts @ values / len(runs)
        cases = rng.integers(values.shape[1], size=(repetitions, values.shape[1]))
        rows = 0 if counts is None else np.arange(repetitions)[:, None]
        sites.append(weighted[rows, cases].mean(1))
    return np.mean(sites, axis=0)


def difference(one: Mapping[CaseKey, float], other: Mapping[CaseKey, float]) -> dict[CaseKey, float]:
    """``one`` minus ``other``, case by case. Raises ``InputError`` unless both hold the same cases."""
    if one.keys() != other.keys():
        odd = len(one.keys() ^ other.keys())
        raise InputError(f"{odd} cases are in only one of the two runs. Compare runs on the same data and splits.")
    return {key: one[key] - other[key] for key in one}


def paired_p(differences: Mapping[CaseKey, float]) -> float:
    """Two-sided Wilcoxon signed-rank test; cases without a difference enter the ranks (Pratt 1959).

    1 where there is no difference at all.
    """
    values = np.array([differences[key] for key in sorted(differences)])
    return float(wilcoxon(values, zero_method="pratt").pvalue) if values.any() else 1.0


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values of several comparisons, corrected so that one false finding among all is as unlikely as one among one.

    Holm (1979): the smallest times n, the next times n - 1, …, never falling, at most 1.
    """
    corrected, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda key: (p_values[key], key))):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = largest
    return {name: corrected[name] for name in p_values}


def worst_site(scores: Mapping[CaseKey, float]) -> tuple[str, float]:
    """The site with the lowest mean, and that mean; of equals the first by name."""
    return _extreme(scores, min)


def spread(scores: Mapping[CaseKey, float]) -> float:
    """Best site's mean minus the worst one's."""
    return _extreme(scores, max)[1] - worst_site(scores)[1]


def _extreme(scores: Mapping[CaseKey, float], which: Callable[..., str]) -> tuple[str, float]:
    means = {site: float(values.mean()) for site, values in _by_site(scores).items()}
    site = which(sorted(means), key=means.__getitem__)
    return site, means[site]


def _by_site(scores: Mapping[CaseKey, float]) -> dict[str, np.ndarray]:
    sites: dict[str, list[float]] = {}
    for site, number in sorted(scores):
        sites.setdefault(site, []).append(scores[site, number])
    return {site: np.array(values) for site, values in sites.items()}


def compare(runs: Mapping[str, Path], reference: str, role: str = "train") -> list[Mapping[str, object]]:
    """Each run but ``reference`` against it, on the cases of sites with this ``role``.

    Args:
        runs: name of the run to its ``cases.csv``.
        reference: a name of ``runs``.
        role: of the sites that are looked at.

    Returns:
        Nothing where ``reference`` has no such cases, else per run ``run``, ``mean`` and ``difference``
        (``Interval``), ``p`` (Holm's), ``worst_site`` and ``spread``.
    """
    scores = {name: read_cases(path, role=role) for name, path in runs.items()}
    if not scores[reference]:
        return []
    differences = {name: difference(scores[name], scores[reference]) for name in runs if name != reference}
    corrected = holm({name: paired_p(found) for name, found in differences.items()})
    return [
        {
            "run": name,
            "mean": bootstrap(scores[name]),
            "difference": bootstrap(found),
            "p": corrected[name],
            "worst_site": worst_site(scores[name]),
            "spread": spread(scores[name]),
        }
        for name, found in differences.items()
    ]


def comparison_table(rows: Sequence[Mapping[str, object]], reference: str) -> str:
    """``compare``'s answer as plain text."""
    width = max(len("run"), *(len(str(row["run"])) for row in rows))
    versus = f"against {reference} [95 %]".ljust(25)
    lines = [f"{'run'.ljust(width)}  mean Dice [95 %]      {versus}  p (Holm)  best - worst  worst site"]
    for row in rows:
        mean, change, (site, dice) = row["mean"], row["difference"], row["worst_site"]
        lines.append(
            f"{str(row['run']).ljust(width)}  {mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}]  "
            + f"{change.mean:+.3f} [{change.low:+.3f}, {change.high:+.3f}]".ljust(len(versus))
            + f"  {row['p']:8.4f}  {row['spread']:12.3f}  {site} {dice:.3f}"
        )
    return "\n".join(lines)
