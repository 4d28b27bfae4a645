# SPDX-License-Identifier: Apache-2.0
"""The same figures kind by kind, where a comparison holds federations of several kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fedpac_me.comparison import significance
from fedpac_me.comparison.datasets import DataSet
from fedpac_me.comparison.figures import RunFigures
from fedpac_me.comparison.scores import by_protocol, dice_scores


def by_kind(data: Sequence[DataSet], runs: Mapping[str, Sequence[RunFigures]], reference: str) -> dict[str, Any]:
    """For every kind of federation (``DataSet.kind``) what a comparison of its data sets alone would say.

    Args:
        data: every data set of the comparison.
        runs: those that are there, by method.
        reference: the method that the others are tested against.

    Returns:
        Per kind ``data`` (names), ``methods`` (``runs``, ``dice``, ``intervals`` and ``unseen_by_protocol`` of each),
        ``tests``, corrected within the kind, and ``sentences``.
    """
    kinds: dict[str, list[str]] = {}
    for one in data:
        kinds.setdefault(one.kind, []).append(one.name)
    return {kind: _of(names, runs, reference) for kind, names in kinds.items()}


def _of(names: Sequence[str], runs: Mapping[str, Sequence[RunFigures]], reference: str) -> dict[str, Any]:
    here = {method: [run for run in own if run.data in names] for method, own in runs.items()}
    tests = significance.paired_tests(here, reference)
    methods = {
        method: {"runs": len(own), **dice_scores(own), "unseen_by_protocol": by_protocol(own)}
        for method, own in here.items()
    }
    sentences = significance.sentences(tests, reference)
    return {"data": list(names), "methods": methods, "tests": tests, "sentences": sentences}
