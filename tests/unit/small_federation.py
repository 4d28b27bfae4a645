# SPDX-License-Identifier: Apache-2.0
"""Two small hospitals that train and one that does not, and federations of theirs that take a second or less."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cases import write_case
from fedpac_me.config import Config, merged, parse_config
from fedpac_me.data.crops import Batch
from fedpac_me.data.pooling import site_folders
from fedpac_me.data.site import folder_settings
from fedpac_me.engine import first_weights
from fedpac_me.federation.ledger import Ledger
from fedpac_me.federation.precision import as_sent
from fedpac_me.federation.run_state import RunState, server_parts
from fedpac_me.federation.server_round import RoundServer, server_arguments
from fedpac_me.federation.update import DATA_KIND, Contribution
from fedpac_me.learning.site import Site

TRAINING = ("site-1", "site-2")
SMALL = {
    "method": "m",
    "title": "t",
    "data": {"crop": 16},
    "model": {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1]},
    "learning": {"steps_per_round": 2, "learning_rate": 0.01, "final_learning_rate": 1.0, "warmup_steps": 0},
    "federation": {"rounds": 2},
    "evaluation": {"validation_every": 9},
}


def config(**changes: Any) -> Config:
    """``SMALL`` with sections laid over it."""
    return parse_config(merged(SMALL, changes))


def write_hospitals(root: Path) -> Path:
    """Sites of unequal size: two and three training cases; the third only evaluates."""
    for number, cases in ((1, 3), (2, 4), (3, 1)):
        ids = [f"C_{number}_{index}" for index in range(cases)]
        for index, case_id in enumerate(ids):
            write_case(root / f"site-{number}", case_id, edge=20, seed=10 * number + index)
        (root / f"site-{number}" / "splits.json").write_text(json.dumps({"train": ids[1:], "test": ids[:1]}))
    (root / "site-3" / "site.json").write_text('{"role": "evaluate"}')
    return root


def rebuilt_federation(made: Config, data: Path, folder: Path) -> dict[str, np.ndarray]:
    """The final model of a federation whose processes, sites and server, are all new in every round."""
    weights, meta = None, {}
    for number in range(made.federation.rounds):
        sites = [Site(path.name, made, folder_settings(path), folder / path.name) for path in site_folders(data)]
        server = RoundServer(**server_arguments(made))
        if weights is None:
            weights = first_weights(made, sites)
        else:
            RunState.read(folder / f"state-{number - 1}.npz").load_into(server)
        server.begin(number, weights)
        received = as_sent(weights, made.federation.download)
        for site in sites:
            update = site.train(received, number, server_meta=meta)
            assert server.accept(Contribution(site.name, DATA_KIND, number, update.diff, update.meta)).ok
        result = server.close()
        weights = {**weights, **{name: weights[name] + step for name, step in result.diff.items()}}
        RunState("job", number, made.to_dict(), Ledger(), weights, **server_parts(server)).save(folder)
    return weights


def as_bytes(weights: dict[str, Any]) -> dict[str, bytes]:
    """Tensors or arrays, to compare to the last bit."""
    return {name: np.asarray(value).tobytes() for name, value in weights.items()}


def farthest(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference of any value."""
    return max(float(np.abs(np.asarray(one[name]) - np.asarray(other[name])).max()) for name in one)


def batches(count: int, seed: int = 0) -> list[Batch]:
    """Noise with bright regions."""
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randn(2, 4, 16, 16, 16, generator=generator) for _ in range(count)]
    return [Batch(image, torch.ones(2, 4), (image[:, :3] > 1).float()) for image in images]
