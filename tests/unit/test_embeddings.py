# SPDX-License-Identifier: Apache-2.0
"""PACM: masks and embeddings of regions, with the answers worked out by hand."""

from __future__ import annotations

import pytest
import torch
from contrast_scene import CHANNELS, drawn, features, scene
from torch.nn import functional

from fedpac_me.model.embeddings import RegionEmbedder, region_masks

# Masks


def test_masks_are_parts_that_do_not_overlap() -> None:
    image = torch.zeros(1, 4, 1, 1, 6)
    image[0, 2, 0, 0, 1:] = -3.0  # brain where any modality differs from 0
    regions = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1]]).float().view(1, 3, 1, 1, 6)
    expected = [[0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 1]]
    assert region_masks(image, regions)[0, :, 0, 0].tolist() == expected


def test_masks_averaged_down_at_once_or_afterwards_are_the_same() -> None:
    image, regions = scene()
    afterwards = functional.adaptive_avg_pool3d(region_masks(image, regions), 4)
    assert torch.equal(region_masks(image, regions, (4, 4, 4)), afterwards)


def test_tumour_on_a_black_voxel_is_no_negative_background() -> None:
    masks = region_masks(torch.zeros(1, 4, 2, 2, 2), torch.ones(1, 3, 2, 2, 2))
    assert masks.flatten(2).sum(2).tolist() == [[0, 0, 0, 8]]


# PACM


def test_the_head_sees_the_mean_of_a_region_at_every_level() -> None:
    embedder = RegionEmbedder((2, 1), 3).double()
    embedder.project = torch.nn.Identity()
    coarse = torch.tensor([[[[[3.0]]], [[[4.0]]]]]).double()
    fine = torch.arange(8.0).view(1, 1, 2, 2, 2).double()
    masks = torch.zeros(1, 4, 2, 2, 2).double()
    masks[0, 0, 0] = 1  # voxels 0 to 3: mean 1.5
    masks[0, 3, 1, 1, 1] = 1  # voxel 7
    found = embedder([coarse, fine], masks)
    assert found.valid.tolist() == [[True, False, False, True]]
    for region, mean in ((0, 1.5), (3, 7.0)):
        expected = torch.tensor([3, 4, mean]).double()
        torch.testing.assert_close(found.vectors[0, region], expected / expected.norm())


def test_embeddings_have_length_1_and_do_not_depend_on_the_memory_format() -> None:
    torch.manual_seed(0)
    embedder, masks = RegionEmbedder(CHANNELS, 8), region_masks(*scene())
    plain = embedder(features(), masks)
    last = embedder([level.to(memory_format=torch.channels_last_3d) for level in features()], masks)
    assert plain.valid.all()
    torch.testing.assert_close(plain.vectors.norm(dim=2), torch.ones(2, 4))
    torch.testing.assert_close(plain.vectors, last.vectors)


@pytest.mark.parametrize(("voxels", "valid"), [(0, False), (5, False), (6, True), (8, True)])
def test_a_region_needs_three_quarters_of_a_voxel_of_the_finest_map(voxels: int, valid: bool) -> None:
    masks = torch.zeros(1, 4, 4, 4, 4)
    masks[0, 2, :2, :2, :2] = (torch.arange(8) < voxels).float().view(2, 2, 2)
    found = RegionEmbedder((3,), 4)([torch.ones(1, 3, 2, 2, 2)], masks)
    assert found.valid.tolist() == [[False, False, valid, False]]
    assert found.vectors.isfinite().all()


def test_the_embedder_works_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    embedder, masks = RegionEmbedder(CHANNELS, 8), region_masks(*scene())
    levels = [level.bfloat16() for level in features()]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = embedder(levels, masks)
    assert inside.vectors.dtype == torch.float32
    assert torch.equal(inside.vectors, embedder([level.float() for level in levels], masks).vectors)


def test_the_gradient_of_the_embedder() -> None:
    torch.manual_seed(0)
    embedder = RegionEmbedder((3, 2), 4).double()
    masks = torch.zeros(1, 4, 4, 4, 4).double()
    masks[:, 0, :2], masks[:, 1, 2:] = 1, 1
    levels = drawn(1, 3, 2, 2, 2).requires_grad_(), drawn(1, 2, 4, 4, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda *given: embedder(given, masks).vectors[:, :2], levels)
