# SPDX-License-Identifier: Apache-2.0
"""Every evaluated model at every site: who gains from the federation, and whose model serves whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedpac_me.evaluation.summary import site_order
from fedpac_me.labels import REGIONS

_KEYS = ("mean", *REGIONS)


def cross_site_matrix(models: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean Dice on each site's test cases under each model.

    Args:
        models: ``{model: summary}`` as ``summary.summarise_run`` gives them; a local model bears its site's name.

    Returns:
        ``models`` (rows) and ``sites`` (columns, each with its role), and in ``dice`` one matrix a region and one of
        their mean; ``None`` where a site did not evaluate a model.
    """
    roles = {site: found["role"] for summary in models.values() for site, found in summary["sites"].items()}
    sites = sorted(roles, key=site_order)
    return {
        "models": list(models),
        "sites": [{"site": site, "role": roles[site]} for site in sites],
        "dice": {
            key: [[_dice(summary["sites"].get(site), key) for site in sites] for summary in models.values()]
            for key in _KEYS
        },
    }


def _dice(summary: Mapping[str, Any] | None, key: str) -> float | None:
    return None if summary is None else summary["dice"][key]
