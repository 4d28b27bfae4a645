# SPDX-License-Identifier: Apache-2.0
"""The two terms of PACL, with the answers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from contrast_scene import ALL, axes, drawn, embedded
from torch import Tensor
from torch.nn import functional

from fedpac_me.learning.contrast import prototype_loss, view_loss
from fedpac_me.model.embeddings import Embeddings

# L_view


def test_view_loss_by_hand() -> None:
    # Regions 0 and 1 at right angles in both views: own similarity 1, the other region's 0.
    both = Embeddings(axes(0, 1, 2, 3)[None], torch.tensor([[True, True, False, False]]))
    expected = math.log(1 + math.exp(-1 / 0.5))
    assert view_loss(both, both, None, None, 0.5).item() == pytest.approx(expected)
    # Three more negatives along axis 2, of which the two of region 0 count for region 1 alone.
    regions = torch.tensor([0, 0, 3])
    expected = (math.log(1 + 2 * math.exp(-2)) + math.log(1 + 4 * math.exp(-2))) / 2
    assert view_loss(both, both, axes(2, 2, 2), regions, 0.5).item() == pytest.approx(expected)
    # Without regions all of them count for both.
    expected = math.log(1 + 4 * math.exp(-2))
    assert view_loss(both, both, axes(2, 2, 2), None, 0.5).item() == pytest.approx(expected)


def test_the_same_region_of_another_scan_is_no_negative() -> None:
    valid = [[True, True, False, False]] * 2
    same = Embeddings(axes(0, 1, 2, 3).expand(2, 4, 4), torch.tensor(valid))
    # Of the other scan, the other region counts and the same one, at similarity 1, does not.
    assert view_loss(same, same, None, None, 0.5).item() == pytest.approx(math.log(1 + 2 * math.exp(-2)))


def test_a_region_that_one_view_does_not_see_counts_nowhere() -> None:
    three, two = [[True, True, True, False]], [[True, True, False, False]]
    whole = view_loss(embedded(two), embedded(two, seed=1), None, None, 0.2)
    part = (embedded(three), embedded(two, seed=1))
    # Region 2 is no anchor; it is still a negative for the view that looks at it.
    assert view_loss(*part, None, None, 0.2) > whole
    spoilt = part[0].vectors.detach().clone()
    spoilt[0, 3] = 1e3
    again = view_loss(Embeddings(spoilt, part[0].valid), part[1], None, None, 0.2)
    assert again.item() == view_loss(*part, None, None, 0.2).item()


@pytest.mark.parametrize("valid", [[[True, False, False, False]], [[False] * 4], [[False] * 4, [False] * 4]])
def test_nothing_to_tell_apart_is_exactly_0_with_a_graph(valid: list[list[bool]]) -> None:
    one, other = embedded(valid), embedded(valid, seed=1)
    loss = view_loss(one, other, None, None, 1e-3)
    assert loss.item() == 0 and loss.requires_grad
    loss.backward()
    assert not one.vectors.grad.any() and not other.vectors.grad.any()


def test_at_batch_1_without_a_queue_it_teaches() -> None:
    one, other = embedded(ALL), embedded(ALL, seed=1)
    loss = view_loss(one, other, None, None, 0.2)
    loss.backward()
    assert loss > 0 and one.vectors.grad.any() and other.vectors.grad.any()


@pytest.mark.parametrize("valid", [ALL, [[True, False, True, False], [True] * 4], [[True, False, False, False]]])
def test_gradients_of_both_losses(valid: list[list[bool]]) -> None:
    one, other, marks = embedded(valid), embedded(valid, seed=1), torch.tensor(valid)
    negatives, regions = drawn(3, 5, seed=2), torch.tensor([0, 1, 2])

    def view(first: Tensor, second: Tensor) -> Tensor:
        return view_loss(Embeddings(first, marks), Embeddings(second, marks), negatives, regions, 0.3)

    assert torch.autograd.gradcheck(view, (one.vectors, other.vectors))
    assert torch.autograd.gradcheck(
        lambda vectors: prototype_loss(Embeddings(vectors, marks), negatives, regions, 0.3), one.vectors
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("valid", [ALL, [[True, False, True, False], [False] * 4], [[False, False, True, False]]])
def test_a_tiny_temperature_stays_finite(valid: list[list[bool]], dtype: torch.dtype) -> None:
    vectors = [embedded(valid, seed=seed).vectors.detach().to(dtype).requires_grad_() for seed in (0, 1)]
    one, other = (Embeddings(part, torch.tensor(valid)) for part in vectors)
    negatives = functional.normalize(drawn(4, 5, seed=2), dim=1).to(dtype)
    regions = torch.tensor([0, 1, 1, 3])  # none of region 2
    loss = view_loss(one, other, negatives, regions, 1e-3) + prototype_loss(one, negatives, regions, 1e-3)
    loss.backward()
    assert loss.isfinite() and all(part.grad.isfinite().all() for part in vectors)


# L_prototype


def test_prototype_loss_by_hand() -> None:
    own = Embeddings(axes(0, 1, 2, 3)[None], torch.tensor([[True, False, True, True]]))
    # Region 0 has two prototypes, one right on it; region 2 has one at a right angle; region 3 has none.
    loss = prototype_loss(own, axes(0, 1, 3), torch.tensor([0, 0, 2]), 0.5)
    at, off = math.exp(2), 1.0
    first, third = -math.log((at + off) / (at + 2 * off)), -math.log(off / (3 * off))
    assert loss.item() == pytest.approx((first + third) / 2)


@pytest.mark.parametrize(("count", "valid"), [(0, ALL), (2, [[False, True, True, True]]), (2, [[False] * 4])])
def test_no_prototype_of_a_region_is_exactly_0_with_a_graph(count: int, valid: list[list[bool]]) -> None:
    own = embedded(valid)
    loss = prototype_loss(own, drawn(count, 5), torch.zeros(count, dtype=torch.int64), 1e-3)
    loss.backward()
    assert loss.item() == 0 and not own.vectors.grad.any()


def test_prototypes_of_one_region_only_teach_nothing() -> None:
    own = embedded(ALL)
    assert prototype_loss(own, drawn(3, 5), torch.zeros(3, dtype=torch.int64), 0.1).item() == 0


@pytest.mark.parametrize(
    "loss",
    [
        lambda own, more, regions: view_loss(own, own, more, regions, 0.1),
        lambda own, more, regions: prototype_loss(own, more, regions, 0.1),
    ],
)
def test_autocast_does_not_round_similarities(loss: Callable[..., Tensor]) -> None:
    own = Embeddings(embedded(ALL).vectors.detach().float(), torch.tensor(ALL))
    more, regions = functional.normalize(drawn(3, 5), dim=1).float(), torch.tensor([0, 1, 2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(own, more, regions)
    assert inside.dtype == torch.float32 and torch.equal(inside, loss(own, more, regions))
