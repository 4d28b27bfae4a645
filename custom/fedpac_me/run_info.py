# SPDX-License-Identifier: Apache-2.0
"""``run.json``: what a run was, written beside its results when it has ended well."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedpac_me.config import Config
from fedpac_me.data.federation_split import split_facts
from fedpac_me.data.phantom.writer import phantom_facts
from fedpac_me.hardware import machine, versions
from fedpac_me.model.checkpoint import find_checkpoint, read_checkpoint
from fedpac_me.storage import read_json, write_json


def finish_run(
    run: Path, name: str, config: Config, data: Path | None, seconds: float, splits: Path | None = None
) -> str:
    """Write ``run.json``; returns the hash of the final model.

    Args:
        data: the sites' folder; ``None`` where the sites kept their data, and computed, somewhere else.
        splits: the file of ``fedpac-me split`` that made the sites, if one did.

    Raises:
        InputError: the run left no final model.
    """
    model_hash = weights_hash(read_checkpoint(find_checkpoint(run)))
    content = {
        "name": name,
        "config": config.to_dict(),
        "config_hash": config.hash,
        "model_hash": model_hash,
        "versions": versions(),
        "hardware": {} if data is None else machine(),
        "seconds_total": round(seconds, 1),
        "data": {} if data is None else _data_facts(data / "phantom.json", splits),
    }
    write_json(run / "run.json", content)
    return model_hash


def _data_facts(phantom: Path, splits: Path | None) -> dict[str, Any]:
    """Which phantom it was, and how the sites were made; of any other data nothing is written down."""
    facts: dict[str, Any] = {} if splits is None else {"split": split_facts(splits)}
    if phantom.is_file():
        facts["phantom"] = phantom_facts(read_json(phantom))
    return facts


def weights_hash(weights: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes and bytes of all weights: equal for equal models, whatever the file around them."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = np.ascontiguousarray(weights[name])
        digest.update(f"{name} {value.dtype} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
