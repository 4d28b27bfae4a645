# SPDX-License-Identifier: Apache-2.0
"""Perspectives compute where the image is. ``meta`` is a device on which torch checks that and computes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedpac_me.learning.perspectives import VOXEL_CHANGES


@pytest.mark.parametrize("name", VOXEL_CHANGES)
@pytest.mark.parametrize("seed", range(3))  # of the axis, too
def test_no_perspective_of_the_voxels_mixes_devices(name, seed):
    image = torch.randn(4, 16, 16, 16, device="meta")
    changed = VOXEL_CHANGES[name](image.shape, np.random.RandomState(seed), 0.6)(image)
    assert changed.device == image.device and changed.shape == image.shape


def test_meta_does_refuse_a_mixture():
    with pytest.raises(RuntimeError, match=r"device"):
        torch.zeros(2, device="meta") + torch.zeros(2)
