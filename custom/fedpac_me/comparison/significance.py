# SPDX-License-Identifier: Apache-2.0
"""How sure the differences to the reference are: cases and training seeds drawn again, paired tests, corrected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from fedpac_me.comparison.figures import SEEN, UNSEEN, RunFigures
from fedpac_me.evaluation.statistics import CaseKey, bootstrap_runs, difference, holm, paired_p

LEVEL = 0.05
WHAT_IS_DRAWN = (
    "Intervals hold 95 % of 10 000 repetitions, in each of which the training seeds of a data set and the cases within "
    "each of its sites are drawn again; sites and data sets stay as they are, so nothing is said of other hospitals."
)
ONE_SEED = "There is one training seed only, so the intervals lack what another seed would change."
WHAT_IS_TESTED = (
    "p is Wilcoxon's signed-rank test over test cases, each with its mean over seeds, two-sided, corrected by Holm "
    f"over all the tests of the table. A difference is called significant where p is below {LEVEL} and the interval "
    "does not hold 0."
)
_PLACES = {SEEN: "at sites that trained", UNSEEN: "at sites that never trained"}
_Pair = tuple[RunFigures, RunFigures]


def interval(runs: Sequence[RunFigures], sites: str) -> dict[str, float] | None:
    """Mean Dice of one method over its runs, with its interval; ``None`` without such test cases."""
    federations = _by_data([(run.data, run.cases[sites]) for run in runs if run.cases[sites]])
    return asdict(bootstrap_runs(list(federations.values()))) if federations else None


def paired_tests(runs: Mapping[str, Sequence[RunFigures]], reference: str) -> list[dict[str, Any]]:
    """Each method but ``reference`` against it, at seen and at unseen sites.

    Only data sets and seeds that both have are looked at.

    Returns:
        Per test ``method``, ``sites``, ``cases``, ``runs``, ``difference`` (method minus reference, with its interval),
        ``p`` (Holm's over all tests) and ``significant``.
    """
    found = [
        test
        for sites in (SEEN, UNSEEN)
        for method, own in runs.items()
        if method != reference and (test := _test(method, _pairs(own, runs.get(reference, ())), sites)) is not None
    ]
    corrected = holm({str(number): test["p"] for number, test in enumerate(found)})
    for test, p in zip(found, corrected.values(), strict=True):
        low, high = test["difference"]["low"], test["difference"]["high"]
        test |= {"p": p, "significant": p < LEVEL and not low <= 0 <= high}
    return found


def sentences(found: Sequence[Mapping[str, Any]], reference: str) -> list[str]:
    """What is significant and what is not, for a person."""
    lines = []
    for sites, place in _PLACES.items():
        here = [test for test in found if test["sites"] == sites]
        parts = {
            f"better than {reference}": [t for t in here if t["significant"] and t["difference"]["mean"] > 0],
            f"worse than {reference}": [t for t in here if t["significant"] and t["difference"]["mean"] < 0],
            f"not significantly different from {reference}": [t for t in here if not t["significant"]],
        }
        words = [f"{_list(tests)} {_is(tests)} {what}" for what, tests in parts.items() if tests]
        if words:
            lines.append(f"In mean Dice {place}, {'; '.join(words)}.")
    return lines or [f"Nothing was tested: no other method has a run on the data and seeds of {reference}."]


def _test(method: str, pairs: Sequence[_Pair], sites: str) -> dict[str, Any] | None:
    changes = [(ours.data, difference(ours.cases[sites], theirs.cases[sites])) for ours, theirs in pairs]
    federations = _by_data([(data, change) for data, change in changes if change])
    if not federations:
        return None
    means = {
        (f"{data}/{key[0]}", key[1]): fmean(change[key] for change in changes)
        for data, changes in federations.items()
        for key in changes[0]
    }
    return {
        "method": method,
        "sites": sites,
        "cases": len(means),
        "runs": sum(map(len, federations.values())),
        "difference": asdict(bootstrap_runs(list(federations.values()))),
        "p": paired_p(means),
    }


def _pairs(ours: Sequence[RunFigures], theirs: Sequence[RunFigures]) -> list[_Pair]:
    by_place = {(run.data, run.seed): run for run in theirs}
    return [(run, by_place[run.data, run.seed]) for run in ours if (run.data, run.seed) in by_place]


def _by_data(scores: Sequence[tuple[str, Mapping[CaseKey, float]]]) -> dict[str, list[Mapping[CaseKey, float]]]:
    federations: dict[str, list[Mapping[CaseKey, float]]] = {}
    for data, cases in scores:
        federations.setdefault(data, []).append(cases)
    return federations


def _list(found: Sequence[Mapping[str, Any]]) -> str:
    names = [f"{test['method']} ({test['difference']['mean']:+.3f}, p {_p(test['p'])})" for test in found]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _is(found: Sequence[Mapping[str, Any]]) -> str:
    return "is" if len(found) == 1 else "are"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "below 0.001"
