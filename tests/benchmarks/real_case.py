# SPDX-License-Identifier: Apache-2.0
"""A real 240×240×155 case: a few training steps, the whole volume predicted, time and memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

from fedpac_me.config import load_config
from fedpac_me.data.crops import TrainingCrops
from fedpac_me.data.layouts import find_cases
from fedpac_me.data.scan_cache import ScanCache
from fedpac_me.learning.predict import predict_case
from fedpac_me.learning.trainer import Trainer
from fedpac_me.model.backbone import build_model

CONFIG = Path(__file__).parents[2] / "app_configs/fedavg.json"
CPU = torch.device("cpu")


def measure(phantom: Path, folder: Path) -> list[str]:
    """One sentence, measured in a process of its own; says so where the case is not there."""
    case = os.environ.get("FEDPAC_ME_REAL_CASE")
    if not case:
        return ["Not measured: FEDPAC_ME_REAL_CASE does not name the folder of the real case."]
    command = [sys.executable, __file__, str(Path(case) / "BraTS20_Training_212"), str(folder / "seg.nii.gz")]
    return [subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()]


def train_and_predict(case: Path, out: Path) -> dict[str, float]:
    """Two rounds of three steps on crops of 64³, then the prediction; losses, seconds and GiB."""
    config = load_config(CONFIG, {"data": {"crop": 64}})
    start = time.monotonic()
    scans = ScanCache(out.parent / "scans", config.data)
    crops = TrainingCrops(find_cases([case.parent]), scans, seed=0, site="real")
    trainer = Trainer(build_model(config), config, CPU)
    losses = [trainer.train_round(crops.batches(0, 3, 2), first_step=40).loss for _ in range(2)]
    trained = time.monotonic()
    predict_case(trainer.model, config, case, out, CPU)
    return {
        "first_loss": losses[0],
        "last_loss": losses[1],
        "training_s": trained - start,
        "prediction_s": time.monotonic() - trained,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = train_and_predict(Path(sys.argv[1]), Path(sys.argv[2]))
    print(
        f"Reading it and 6 steps of 2 × 64³: {found['training_s']:.1f} s; reading it again, predicting the volume "
        f"and writing the file: {found['prediction_s']:.1f} s; at most {found['peak_gib']:.2f} GiB. One thread."
    )
