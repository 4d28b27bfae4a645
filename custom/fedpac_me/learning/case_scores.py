# SPDX-License-Identifier: Apache-2.0
"""What one test case of a site scores: its labels, the probabilities that they were cut from, and who spoke."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedpac_me.data.scan import Scan
from fedpac_me.evaluation.calibration import case_calibration
from fedpac_me.evaluation.metrics import case_metrics, region_dice
from fedpac_me.evaluation.pair_matching import PAIR_MATCHING, pair_matching_accuracy
from fedpac_me.learning.inference import Prediction
from fedpac_me.model.router import Routing


def case_scores(prediction: Prediction, scan: Scan) -> dict[str, float | int | None]:
    """``case_metrics`` on the whole volume and ``case_calibration`` in the brain of a scan with segmentation.

    Builtins only, and nothing that says whose scan it is.
    """
    metrics = case_metrics(prediction.labels, scan.uncrop(scan.labels), scan.spacing_mm)
    return metrics | case_calibration(prediction.logits, scan.labels, prediction.brain)


def routing_facts(route: Routing, second: Prediction, scan: Scan) -> dict[str, float | int]:
    """Who spoke for a test case, how far it is from the key, and what ``second``, the next expert's answer, scores."""
    scores = region_dice(second.labels, scan.uncrop(scan.labels))
    return {
        "expert": route.expert,
        "distance": route.distance,
        "far": int(route.far),
        "second_expert": route.by_second().expert,
        **{f"second_dice_{region}": dice for region, dice in scores.items()},
    }


def with_pair_matching(
    rows: Sequence[dict[str, Any]], encoded: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[dict[str, Any]]:
    """All of a site's rows with their pair-matching accuracy, or as they are where no scan was ``encoded`` (twice)."""
    if not encoded:
        return list(rows)
    scores = pair_matching_accuracy(*zip(*encoded, strict=True))
    return [row | {PAIR_MATCHING: score} for row, score in zip(rows, scores, strict=True)]
