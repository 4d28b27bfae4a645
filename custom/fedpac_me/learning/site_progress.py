# SPDX-License-Identifier: Apache-2.0
"""What a site did, in figures for curves and in a sentence for its log.

Counts and means only: a site's log may be streamed to the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

import numpy as np

from fedpac_me.federation.update import array_bytes
from fedpac_me.labels import REGIONS
from fedpac_me.learning.site import Site, SiteUpdate


def round_figures(update: SiteUpdate, received: Mapping[str, np.ndarray]) -> dict[str, float]:
    """One round at one site, by the names of its curves: loss, validation Dice, scans by expert, seconds and bytes."""
    scans = {f"expert_{expert}_scans": mass for expert, mass in enumerate(update.meta.get("expert_mass", []))}
    traffic = {"bytes_down": array_bytes(received), "bytes_up": array_bytes(update.diff)}
    return {**update.meta["metrics"], **scans, "seconds": update.meta["seconds"], **traffic}


def ready_sentence(site: Site) -> str:
    """What the site brings along."""
    split = site.split
    cases = f"{len(split.train)} training, {len(split.validation)} validation, {len(split.test)} test"
    return f"Ready: role {site.role}; cases: {cases}; device {site.device}."


def round_sentence(site: Site, round_number: int, update: SiteUpdate, received: Mapping[str, np.ndarray]) -> str:
    """What happened in round ``round_number``, which counts from 0."""
    figures = round_figures(update, received)
    parts = [f"received {_megabytes(figures['bytes_down'])}"]
    if "dice_mean" in figures:
        regions = ", ".join(f"{region} {figures[f'dice_{region}']:.3f}" for region in REGIONS)
        parts.append(f"validated, mean Dice {figures['dice_mean']:.3f} ({regions})")
    if "train_loss" in figures:
        parts.append(f"trained {site.config.learning.steps_per_round} steps, loss {figures['train_loss']:.3f}")
    parts.append(f"{figures['seconds']:.1f} s")
    parts.append(f"sends {_megabytes(figures['bytes_up'])}" if update.diff else "sends no weights")
    return f"Round {round_number + 1} of {site.config.federation.rounds}: {'; '.join(parts)}."


def evaluation_sentence(model_name: str, evaluation: Mapping[str, Any]) -> str:
    """What the site's test cases say of a model."""
    cases = evaluation["cases"]
    if not cases:
        return f"Model {model_name}: no test cases here."
    dice = fmean(case[f"dice_{region}"] for case in cases for region in REGIONS)
    seconds = sum(case["seconds"] for case in cases)
    return f"Model {model_name}: mean Dice {dice:.3f} on the test cases, {seconds:.1f} s."


def _megabytes(count: float) -> str:
    return f"{count / 1e6:.2f} MB"
