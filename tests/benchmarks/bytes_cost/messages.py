# SPDX-License-Identifier: Apache-2.0
"""The real messages of a round, as long as FLARE makes them, and what rounding did to the updates in them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.dxo_filter import DXOFilter
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.utils.decomposers import flare_decomposers
from nvflare.app_common.abstract.model import make_model_learnable
from nvflare.app_common.decomposers import common_decomposers
from nvflare.fuel.utils import fobs

from federation_cost.data import tiny_sites
from fedpac_me.config import Config, load_config, merged
from fedpac_me.data.pooling import site_folders
from fedpac_me.data.site import folder_settings
from fedpac_me.engine import first_weights
from fedpac_me.federation.precision import FLOAT32, widened
from fedpac_me.flare.model_sender import model_generator
from fedpac_me.learning.difference import rounded
from fedpac_me.learning.site import Site

CONFIGS = Path(__file__).parents[3] / "app_configs"
SITES = 4
LITTLE: dict[str, Any] = {
    "data": {"crop": 16},
    "learning": {"steps_per_round": 2, "batch": 2},
    "evaluation": {"validation_every": 99},
}
"""Laid over every config: the network as it is, next to no training."""
HALF = {"federation": {"upload": "float16", "download": "float16"}}


@dataclass(frozen=True)
class Row:
    """Messages to count: a file of ``app_configs``, what is changed in it, and FLARE's quantisation, if any."""

    config: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    quantized: str = ""


ROWS = {
    "FedAvg of FedPAC-ME's network, float32": Row("ablations/merge_by_cases.json"),
    "FedPAC-ME, float32": Row("fedpac_me.json"),
    "FedPAC-ME, float16": Row("ablations/float16_messages.json"),
    "FedAvg, float32": Row("fedavg.json"),
    "FedAvg, float16": Row("fedavg.json", HALF),
    "FedAvg, FLARE's filters, float16": Row("fedavg.json", quantized="float16"),
    "FedAvg, FLARE's filters, adaquant": Row("fedavg.json", quantized="adaquant"),
}
SAME_NETWORK, PLAIN = "FedAvg of FedPAC-ME's network, float32", "FedAvg, float32"
REFERENCES = {"FedAvg of": SAME_NETWORK, "FedPAC-ME": SAME_NETWORK, "FedAvg": PLAIN}
"""What a row is divided by, by how it begins; the first that fits."""


@dataclass(frozen=True)
class Counted:
    """Bytes a site of a whole message, and how far an update is from the float32 one, relative to its length."""

    up: float
    down: float
    error: float


def section(folder: Path) -> list[str]:
    """The page's lines."""
    flare_decomposers.register()
    common_decomposers.register()
    data = tiny_sites(folder / "data", SITES)
    found = {}
    for number, (name, row) in enumerate(ROWS.items()):
        if row.quantized and find_spec("bitsandbytes") is None:
            print(f"{name}: not measured, bitsandbytes is not installed", file=sys.stderr)
            continue
        config = load_config(CONFIGS / row.config, merged(LITTLE, dict(row.changes)))
        found[name] = _counted(config, row.quantized, data, folder / str(number))
    return [
        "| messages | MB up | MB down | against float32 FedAvg: up, down | an update is off by |",
        "|---|---|---|---|---|",
        *(_line(name, counted, found) for name, counted in found.items()),
    ]


def _line(name: str, counted: Counted, found: Mapping[str, Counted]) -> str:
    reference = found[next(known for start, known in REFERENCES.items() if name.startswith(start))]
    ratios = f"{counted.up / reference.up:.3f}, {counted.down / reference.down:.3f}"
    return f"| {name} | {counted.up / 1e6:.3f} | {counted.down / 1e6:.3f} | {ratios} | {counted.error:.1e} |"


def _counted(config: Config, quantized: str, data: Path, folder: Path) -> Counted:
    # The sites answer in float32, and the answer is rounded here as they do it, so that both are at hand.
    federation = config.federation.model_copy(update={"upload": FLOAT32})
    exact = config.model_copy(update={"federation": federation})
    sites = [Site(path.name, exact, folder_settings(path), folder / path.name) for path in site_folders(data)]
    weights = first_weights(exact, sites)
    model = make_model_learnable(dict(weights), {})
    download = model_generator(config.federation.download).learnable_to_shareable(model, FLContext())
    down, received = _through(download, quantized)
    ups, errors = [], []
    for site in sites:
        update = site.train(received, 0)
        diff, _ = rounded(update.diff, None, config.federation.upload)
        sent = DXO(DataKind.WEIGHT_DIFF, data=dict(diff), meta=update.meta).to_shareable()
        length, arrived = _through(sent, quantized)
        ups.append(length)
        errors.append(_error(widened(arrived), update.diff))
    return Counted(float(np.mean(ups)), float(down), float(np.mean(errors)))


def _through(message: Shareable, quantized: str) -> tuple[int, dict[str, np.ndarray]]:
    """The message's bytes, and the tensors that the other side has."""
    out, into = _filters(quantized)
    for one in out:
        message = one.process(message, FLContext())
    encoded = fobs.dumps(message)
    arrived = fobs.loads(encoded)
    for one in into:
        arrived = one.process(arrived, FLContext())
    return len(encoded), from_shareable(arrived).data


def _filters(kind: str) -> tuple[Sequence[DXOFilter], Sequence[DXOFilter]]:
    """FLARE's quantisation, as its own example puts it together: of whoever sends, of whoever receives."""
    if not kind:
        return (), ()
    # They import bitsandbytes, which is none of the project's requirements.
    from nvflare.app_opt.pt.quantization.dequantizer import ModelDequantizer
    from nvflare.app_opt.pt.quantization.quantizer import ModelQuantizer

    warnings.filterwarnings("ignore", "The given NumPy array is not writable")
    return (ModelQuantizer(kind),), (ModelDequantizer(),)


def _error(arrived: Mapping[str, np.ndarray], exact: Mapping[str, np.ndarray]) -> float:
    off, length = (
        np.sqrt(sum(float(np.square(value, dtype=np.float64).sum()) for value in values))
        for values in ([arrived[name] - exact[name] for name in exact], exact.values())
    )
    return float(off / length)
