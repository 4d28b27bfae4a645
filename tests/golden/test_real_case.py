# SPDX-License-Identifier: Apache-2.0
"""A real BraTS2020 case, 240×240×155 voxels: a few steps, a whole prediction, a file that lies on the case."""

from __future__ import annotations

import resource
import time

import nibabel
import numpy as np
import pytest
import torch

from fedpac_me.config import load_config
from fedpac_me.data.crops import TrainingCrops
from fedpac_me.data.layouts import find_cases
from fedpac_me.learning.predict import predict_case
from fedpac_me.learning.trainer import Trainer
from fedpac_me.model.backbone import build_model

pytestmark = pytest.mark.real_case
CPU = torch.device("cpu")


def test_a_real_case_is_trained_on_and_predicted_whole(real_case, tmp_path, request, record_property):
    config = load_config(request.config.rootpath / "app_configs/fedavg.json", {"data": {"crop": 64}})
    start = time.monotonic()
    crops = TrainingCrops(find_cases([real_case.parent]), config.data, seed=0, site="real")
    trainer = Trainer(build_model(config.model, 0), config, CPU)
    first = trainer.train_round(crops.batches(0, 3, 2), 0).loss
    last = trainer.train_round(crops.batches(0, 3, 2), 20).loss
    trained = time.monotonic()
    predict_case(trainer.model, config, real_case, tmp_path / "seg.nii.gz", CPU)
    predicted = time.monotonic()

    assert np.isfinite(last) and last < first
    made = nibabel.load(tmp_path / "seg.nii.gz")
    given = nibabel.load(real_case / f"{real_case.name}_t1.nii.gz")
    assert made.shape == given.shape == (240, 240, 155)
    assert np.array_equal(made.affine, given.affine)
    labels = np.asanyarray(made.dataobj)
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) <= {0, 1, 2, 4}
    assert not labels[np.asanyarray(given.dataobj) == 0].any()
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    figures = {
        "reading and 6 steps of 2 x 64^3 (s)": round(trained - start, 1),
        "prediction of the volume (s)": round(predicted - trained, 1),
        "peak memory of the process (GiB)": round(peak_gib, 2),
    }
    for name, value in figures.items():
        record_property(name, value)
    print(f"\nreal case: {figures}")
    assert peak_gib < 6
