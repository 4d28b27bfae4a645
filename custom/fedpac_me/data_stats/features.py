# SPDX-License-Identifier: Apache-2.0
"""What is asked of the sites: the same names for each, so that a name says nothing about a patient.

A record is a case, in every feature. FLARE's privacy filters count records: were they voxels, a single patient would
pass a minimum count of ten.
"""

from __future__ import annotations

from typing import Any

from fedpac_me.data.splits import Split
from fedpac_me.labels import LABELS, MODALITIES, REGIONS

DATA_SET = "cases"
"""FLARE groups features by data set. A site has one: in its parts alone the small sites would never reach a minimum."""

CASES, UNUSABLE = "cases", "unusable"
PARTS = tuple(Split().parts())
GRADES = ("HGG", "LGG", "no_grade")
VOLUMES = (*REGIONS, *(f"label_{label}" for label in LABELS[1:]))
SPACING = ("spacing_x", "spacing_y", "spacing_z")
RAW = {modality: f"{modality}_raw" for modality in MODALITIES}
Z_SCORES = {modality: f"{modality}_z" for modality in MODALITIES}
FEATURES = (CASES, UNUSABLE, *PARTS, *GRADES, *VOLUMES, *SPACING, *RAW.values(), *Z_SCORES.values())

PARTITIONS = (GRADES, (CASES, UNUSABLE))
"""Features that give each other away: with a sum and all but one of what adds up to it, that one is known."""

BINS = 16
Z_RANGE = (-3.0, 5.0)
"""Where nearly all z-scores of a brain lie; the outermost bins hold what lies beyond."""


def statistic_configs(bins: int) -> dict[str, Any]:
    """What FLARE's ``StatisticsController`` is to ask for.

    The range of raw intensities is left out, so that the sites agree on one (FLARE asks for their noised lowest and
    highest); that of z-scores is the same everywhere. Other features have no histogram, which FLARE cannot be told:
    they get an entry that makes it ask no site for its extremes.
    """
    histograms = {feature: {"bins": bins} for feature in RAW.values()}
    histograms |= {feature: {"bins": bins, "range": list(Z_RANGE)} for feature in Z_SCORES.values()}
    nothing = {"bins": 1, "range": [0, 1]}
    return {"count": {}, "sum": {}, "mean": {}, "stddev": {}, "histogram": {"*": nothing, **histograms}}
