# SPDX-License-Identifier: Apache-2.0
"""Where tensors lie in flat accumulators, and the chunks in which everything here walks through them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

# 2¹⁶ elements: their float64 scratch takes 512 KiB and stays in the L2 cache between the passes.
CHUNK = 2**16
# Tensors share blocks of at least 8 MiB, for which the system hands out memory in large pages.
BLOCK = 2**20


def chunks(size: int) -> Iterator[slice]:
    """Slices that cover ``size`` elements, ``CHUNK`` at a time."""
    return (slice(start, min(start + CHUNK, size)) for start in range(0, size, CHUNK))


@dataclass
class Block:
    """Consecutive tensors in one flat accumulator, ``None`` as long as nothing was added."""

    places: dict[str, slice]
    size: int
    total: np.ndarray | None = None


@dataclass(frozen=True)
class Piece:
    """A chunk of one tensor, and where it is added."""

    name: str
    part: slice
    block: Block
    place: slice


def laid_out(shapes: Mapping[str, tuple[int, ...]]) -> list[Block]:
    """Blocks for all the tensors, in their order."""
    blocks: list[Block] = []
    for name, shape in shapes.items():
        if not blocks or blocks[-1].size >= BLOCK:
            blocks.append(Block({}, 0))
        start = blocks[-1].size
        blocks[-1].size = start + math.prod(shape)
        blocks[-1].places[name] = slice(start, blocks[-1].size)
    return blocks


def pieces(block: Block) -> Iterator[Piece]:
    """All chunks of all tensors of a block."""
    for name, place in block.places.items():
        for part in chunks(place.stop - place.start):
            yield Piece(name, part, block, slice(place.start + part.start, place.start + part.stop))
