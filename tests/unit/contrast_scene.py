# SPDX-License-Identifier: Apache-2.0
"""A made-up crop with a tumour, decoder features of it, and embeddings out of nothing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fedpac_me.model.embeddings import Embeddings

CHANNELS = (6, 4, 2)
ALL = [[True] * 4]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scene(batch: int = 2, edge: int = 16) -> tuple[Tensor, Tensor]:
    """Image and regions: a brain that fills the left half, nested cubes of tumour inside."""
    image = drawn(batch, 4, edge, edge, edge).float()
    image[..., edge // 2 :] = 0
    regions = torch.zeros(batch, 3, edge, edge, edge)
    regions[:, 1, 2:14, 2:14, :8] = 1
    regions[:, 0, 4:12, 4:12, :8] = 1
    regions[:, 2, 4:8, 4:12, :8] = 1
    return image, regions


def features(batch: int = 2, seed: int = 0) -> list[Tensor]:
    return [drawn(batch, c, n, n, n, seed=seed + c).float() for c, n in zip(CHANNELS, (4, 8, 16), strict=True)]


def embedded(valid: list[list[bool]], dimension: int = 5, seed: int = 0) -> Embeddings:
    vectors = functional.normalize(drawn(len(valid), 4, dimension, seed=seed), dim=2).requires_grad_()
    return Embeddings(vectors, torch.tensor(valid))


def axes(*numbers: int) -> Tensor:
    """Unit vectors along these axes of four."""
    return torch.eye(4, dtype=torch.float64)[list(numbers)]
