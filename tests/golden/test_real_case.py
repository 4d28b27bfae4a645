# SPDX-License-Identifier: Apache-2.0
"""A real BraTS2020 case, 240×240×155 voxels: a few steps, a whole prediction, a file that lies on the case."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from real_case import train_and_predict

pytestmark = pytest.mark.real_case


def test_a_real_case_is_trained_on_and_predicted_whole(real_case, tmp_path):
    figures = train_and_predict(real_case, tmp_path / "seg.nii.gz")
    print(f"\nreal case: {figures}")

    assert np.isfinite(figures["last_loss"]) and figures["last_loss"] < figures["first_loss"]
    made = nibabel.load(tmp_path / "seg.nii.gz")
    given = nibabel.load(real_case / f"{real_case.name}_t1.nii.gz")
    assert made.shape == given.shape == (240, 240, 155)
    assert np.array_equal(made.affine, given.affine)
    labels = np.asanyarray(made.dataobj)
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) <= {0, 1, 2, 4}
    assert not labels[np.asanyarray(given.dataobj) == 0].any()
    assert figures["peak_gib"] < 6
