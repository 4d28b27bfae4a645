# SPDX-License-Identifier: Apache-2.0
"""Every figure of docs/results/inference.md: how many windows a whole scan takes, and how long, on one CPU thread.

python tests/benchmarks/inference.py            about 2 minutes; a run that is cut short leaves a page of what it has
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from torch import nn

from bare_monai import plain_prediction, plain_segresnet
from fedpac_me.config import Config, load_config
from fedpac_me.data.layouts import find_case
from fedpac_me.data.scan import Scan, load_scan
from fedpac_me.hardware import machine, versions
from fedpac_me.labels import REGIONS
from fedpac_me.learning.inference import predict, predict_logits
from fedpac_me.model.backbone import build_model
from fedpac_me.model.router import Routing
from fedpac_me.storage import write_text
from full_size_cases import full_size_scan
from gpu_check.turns import in_turns

ROOT = Path(__file__).parents[2]
OUT = ROOT / "docs/results/inference.md"
CPU = torch.device("cpu")
WINDOWS = ((32, 0.25), (64, 0.25), (128, 0.5))
LIMIT = 1.15


def main() -> None:
    """Measure, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="turns of which the median is taken (default: 3)")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    scans = _scans()
    lines = [_head(repeats)]
    for line in itertools.chain(_counts(scans), _candidates(scans), _seconds(scans, repeats)):
        lines.append(line)
        write_text(OUT, "\n".join(lines) + "\n")
    print(f"Written: {OUT}")


def _scans() -> dict[str, Scan]:
    phantom = full_size_scan()
    scans = {"phantom": phantom, "phantom with a speck in two corners": with_specks(phantom)}
    folder = os.environ.get("FEDPAC_ME_REAL_CASE")
    if folder:
        scans["a real case of BraTS 2020"] = load_scan(find_case(Path(folder) / "BraTS20_Training_212"), 0)
    return scans


def with_specks(scan: Scan) -> Scan:
    """The scan as skull stripping that leaves a voxel in each of two opposite corners would have it: a box too big."""
    image = np.stack([scan.uncrop(channel) for channel in scan.image])
    image[:, 0, 0, 0] = image[:, -1, -1, -1] = 1
    return replace(scan, image=image, box=tuple(slice(0, edge) for edge in scan.shape))


class Counter(nn.Module):
    """Says no tumour, and counts the windows that it was asked for."""

    windows = 0

    def forward(self, windows: torch.Tensor, *_: object) -> torch.Tensor:
        """Logits (BCDHW) of 0."""
        self.windows += len(windows)
        return windows.new_zeros(len(windows), len(REGIONS), *windows.shape[2:])


def counts(scan: Scan, config: Config) -> tuple[int, int, int]:
    """Windows of the whole volume, of the brain's box, and those of them that are computed."""
    whole, box, computed = Counter(), Counter(), Counter()
    roi, overlap = (config.data.crop,) * 3, config.evaluation.overlap
    for counter, shape in ((whole, scan.shape), (box, scan.image.shape[1:])):
        sliding_window_inference(torch.zeros(1, 1, *shape), roi, 4, counter, overlap)
    predict_logits(computed, scan, config, CPU, None)
    return whole.windows, box.windows, computed.windows


def _counts(scans: dict[str, Scan]) -> Iterator[str]:
    yield "\n## Windows of a scan\n"
    yield "| scan | window, overlap | of the whole volume | of the brain's box | computed | of the box's |"
    yield "|---|---|---|---|---|---|"
    for name, scan in scans.items():
        for crop, overlap in WINDOWS:
            whole, box, computed = counts(scan, _config(crop, overlap))
            share = f"{computed / box:.1%}"
            yield f"| {name} | {crop}³, {overlap} | {whole} | {box} | {computed} | {share} |"


def _seconds(scans: dict[str, Scan], repeats: int) -> Iterator[str]:
    config = _config(32, 0.25)
    yield "\n## Processor seconds, against MONAI's plain SegResNet with all windows of the same box\n"
    yield (
        f"8 filters, windows of 32³, overlap 0.25, one thread, median of {repeats} in turns. Processor time hardly "
        "minds what else the machine does.\n"
    )
    yield "| scan | ours | plain | ratio | target | logits in the brain apart at most |"
    yield "|---|---|---|---|---|---|"
    for name, scan in scans.items():
        print(f"Measuring: {name} ...", file=sys.stderr, flush=True)
        network, plain = build_model(config).to(memory_format=torch.channels_last_3d), plain_segresnet(config)
        plain.load_state_dict(network.backbone.state_dict())
        bare = plain_prediction(plain, scan, config, CPU)
        ours, other = in_turns(
            lambda n=network, s=scan: predict(n, s, config, CPU), bare, repeats, CPU, time.process_time
        )
        found = predict(network, scan, config, CPU)
        apart = np.abs(found.logits - bare()[0].numpy())[:, found.brain].max()
        yield f"| {name} | {ours:.2f} | {other:.2f} | {ours / other:.2f} | ≤ {LIMIT} | {apart:.1e} |"


def _candidates(scans: dict[str, Scan]) -> Iterator[str]:
    """Forward passes, in windows, of a scan near its key and of one far from all, counted and not timed."""
    config = load_config(ROOT / "app_configs/experts.json")
    network, scan = Counter(), next(iter(scans.values()))
    experts = config.model.experts
    found = []
    for route in (Routing(0), Routing(0, distance=2.0, candidates=tuple(range(experts)))):
        before = network.windows
        predict(network, scan, config, CPU, route)
        found.append(network.windows - before)
    yield "\n## Who speaks\n"
    yield (
        "The router is asked once a scan and its answer holds for every window. Under `router.far: surest` each of "
        f"the {experts} experts answers for a scan far from every key: {found[1]} windows of the phantom, "
        f"{found[0]} where the scan is near one."
    )


def _config(crop: int, overlap: float) -> Config:
    return load_config(ROOT / "app_configs/fedavg.json", {"data": {"crop": crop}, "evaluation": {"overlap": overlap}})


def _head(repeats: int) -> str:
    facts = ", ".join(f"{key} {value}" for key, value in {**machine(), **versions()}.items())
    return (
        "# Predicting whole scans, measured\n\n"
        f"`python tests/benchmarks/inference.py --repeats {repeats}` wrote this page on {date.today().isoformat()}. "
        "Scans have 240×240×155 voxels and are cut to the box of their brain when they are read; of that box's windows "
        f"those without brain are left out. Weights are those of seed 0, untrained. Machine and versions: {facts}."
    )


if __name__ == "__main__":
    main()
