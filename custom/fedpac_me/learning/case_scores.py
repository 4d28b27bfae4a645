# SPDX-License-Identifier: Apache-2.0
"""What one test case of a site scores: its labels, the probabilities that they were cut from, and who spoke."""

from __future__ import annotations

from fedpac_me.data.scan import Scan
from fedpac_me.evaluation.calibration import case_calibration
from fedpac_me.evaluation.metrics import case_metrics, region_dice
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
