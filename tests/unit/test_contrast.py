# SPDX-License-Identifier: Apache-2.0
"""PACL, with the answers worked out by hand."""

from __future__ import annotations

import json

import pytest
import torch
from contrast_scene import ALL, CHANNELS, axes, drawn, embedded, features, scene

from fedpac_me.config import ContrastConfig
from fedpac_me.errors import InputError
from fedpac_me.federation.prototypes import CONTRAST_REGIONS, Prototypes, read_prototype_sums, read_prototypes
from fedpac_me.learning.contrast import ContrastLoss, EmbeddingQueue, PrototypeSums, prototype_loss, view_loss
from fedpac_me.model.embeddings import CONTRAST_LEVELS, Embeddings, RegionEmbedder, region_masks


def torch_loss(rounds: int = 10, **config: float) -> ContrastLoss:
    torch.manual_seed(0)
    settings = {"view_weight": 0.5, "prototype_weight": 0.25, "dimension": 4, "start": 0.0, "ramp": 0.0, "queue": 8}
    return ContrastLoss(
        ContrastConfig(**settings | config), RegionEmbedder(CHANNELS[:CONTRAST_LEVELS], 4), experts=2, rounds=rounds
    )


def broadcast(dimension: int = 4) -> dict:
    entries = [
        {"expert": 0, "region": region, "vector": [float(i == n) for i in range(dimension)]}
        for n, region in enumerate(CONTRAST_REGIONS)
    ]
    return {"dimension": dimension, "entries": entries}


# Queue and sums


def test_the_queue_keeps_the_last_valid_vectors_in_order() -> None:
    queue = EmbeddingQueue(3)
    assert queue.tensors() == (None, None)
    queue.push(Embeddings(axes(0, 1, 2, 3)[None].requires_grad_(), torch.tensor([[True, False, True, False]])))
    assert [part.tolist() for part in queue.tensors()] == [axes(0, 2).tolist(), [0, 2]]
    second = torch.tensor([[False, False, False, True], [False, True, False, False]])
    queue.push(Embeddings(axes(0, 1, 2, 3).expand(2, 4, 4), second))
    vectors, regions = queue.tensors()
    assert (vectors.tolist(), regions.tolist()) == (axes(2, 3, 1).tolist(), [2, 3, 1])
    assert not vectors.requires_grad
    queue.clear()
    assert queue.tensors() == (None, None)


def test_a_queue_of_size_0_stays_empty() -> None:
    queue = EmbeddingQueue(0)
    queue.push(embedded(ALL))
    one, other = embedded(ALL), embedded(ALL, seed=1)
    assert len(queue.tensors()[0]) == 0
    assert view_loss(one, other, *queue.tensors(), 0.2).item() == view_loss(one, other, None, None, 0.2).item()


def test_sums_of_valid_vectors_an_expert_and_region() -> None:
    sums = PrototypeSums(2, 4)
    valid = torch.tensor([[True, True, False, False], [True, False, False, False]])
    sums.add(Embeddings(axes(0, 1, 2, 3).expand(2, 4, 4).requires_grad_(), valid), (1, 1))
    sums.add(Embeddings(axes(3, 2, 1, 0)[None], torch.tensor(ALL)), (0,))
    meta = sums.to_meta()
    assert meta["brain"] == {"sum": [[0, 0, 0, 1], [2, 0, 0, 0]], "count": [1, 2]}
    assert meta["oedema"] == {"sum": [[0, 0, 1, 0], [0, 1, 0, 0]], "count": [1, 1]}
    assert meta["enhancing"] == {"sum": [[1, 0, 0, 0], [0, 0, 0, 0]], "count": [1, 0]}
    assert json.loads(json.dumps(meta)) == meta
    assert type(meta["brain"]["count"][0]) is int and type(meta["brain"]["sum"][0][0]) is float


# PACL of a site


@pytest.mark.parametrize(
    ("rounds", "start", "ramp", "expected"),
    [
        (10, 0.2, 0.4, [0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1]),
        (4, 0.0, 0.0, [1, 1, 1, 1]),
        (4, 0.5, 0.0, [0, 0, 1, 1]),
        (4, 0.3, 0.5, [0, 0, 0.4, 0.9]),  # from round 1.2 over 2 rounds
        (4, 1.0, 0.2, [0, 0, 0, 0]),
        (1, 0.2, 0.2, [0]),
    ],
)
def test_warm_up_and_ramp(rounds: int, start: float, ramp: float, expected: list[float]) -> None:
    loss = torch_loss(rounds, start=start, ramp=ramp)
    assert [loss.weight(number) for number in range(rounds)] == pytest.approx(expected)


def test_terms_are_weighted() -> None:
    image, regions = scene()
    full, half = torch_loss(), torch_loss(start=0.0, ramp=1.0)
    full.begin_round(5, broadcast())
    half.begin_round(5, broadcast())
    one, two = (loss(features(), image, regions, (0, 1), features(seed=50)) for loss in (full, half))
    assert set(one) == set(two) == {"view", "prototype"}
    for name, value in one.items():
        assert value > 0 and two[name].item() == pytest.approx(value.item() / 2)
    own = full.embedder(features()[:2], region_masks(image, regions))
    expected = 0.25 * prototype_loss(own, torch.eye(4), torch.arange(4), full.config.temperature)
    torch.testing.assert_close(one["prototype"], expected)


@pytest.mark.parametrize(
    ("config", "second", "expected"),
    [
        ({"view_weight": 0.0}, True, {"prototype"}),
        ({"prototype_weight": 0.0}, True, {"view"}),
        ({}, False, {"prototype"}),
        ({"view_weight": 0.0, "prototype_weight": 0.0}, True, set()),
    ],
)
def test_only_what_is_asked_for_is_computed(config: dict, second: bool, expected: set[str]) -> None:
    loss = torch_loss(**config)
    loss.begin_round(0, broadcast())
    assert set(loss(features(), *scene(), (), features() if second else None)) == expected


def test_before_it_begins_it_only_collects_what_the_server_needs_next() -> None:
    loss = torch_loss(rounds=10, start=0.3, ramp=0.1)
    collected = []
    for number in range(5):
        loss.begin_round(number, None)
        assert loss(features(), *scene(), (0, 0), features()) == {} or number > 3
        collected.append(loss.sums_meta() is not None)
    # The weight first exceeds 0 in round 4 (ramp from 3 to 4), whose prototypes are those of round 3.
    assert collected == [False, False, False, True, True]
    assert loss.sums_meta()["brain"]["count"] == [2, 0]


def test_when_a_second_perspective_is_wanted() -> None:
    loss = torch_loss(view_every=3, start=0.5)
    assert not loss.wants_second(0)
    loss.begin_round(5, None)
    assert [step for step in range(7) if loss.wants_second(step)] == [0, 3, 6]


def test_a_round_keeps_nothing_of_the_last_one() -> None:
    def round_of(loss: ContrastLoss) -> list[float]:
        loss.begin_round(3, broadcast())
        terms = [loss(features(seed=s), *scene(), (0, 1), features(seed=s + 50)) for s in range(3)]
        return [value.item() for term in terms for value in term.values()]

    used, fresh = torch_loss(), torch_loss()
    first = round_of(used)
    sums = used.sums_meta()
    assert round_of(used) == round_of(fresh) == first
    assert used.sums_meta() == fresh.sums_meta() == sums


def test_gradients_reach_the_levels_looked_at_and_the_embedder() -> None:
    loss = torch_loss()
    loss.begin_round(0, broadcast())
    levels, second = ([level.requires_grad_() for level in features(seed=s)] for s in (0, 50))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = loss(levels, *scene(), (0, 1), second)
    sum(terms.values()).backward()
    for coarse, middle, fine in (levels, second):
        assert coarse.grad.any() and middle.grad.any() and fine.grad is None
    assert all(value.grad.isfinite().all() and value.grad.any() for value in loss.embedder.parameters())


def test_a_batch_without_brain_is_0_with_a_graph() -> None:
    loss = torch_loss(temperature=1e-3)
    loss.begin_round(0, broadcast())
    levels = [level.requires_grad_() for level in features()]
    terms = loss(levels, torch.zeros(2, 4, 16, 16, 16), torch.zeros(2, 3, 16, 16, 16), (0, 1), features(seed=9))
    sum(terms.values()).backward()
    assert [value.item() for value in terms.values()] == [0, 0]
    assert not levels[0].grad.any() and loss.sums_meta()["brain"]["count"] == [0, 0]


def test_features_of_a_batch_of_one_and_of_a_shallow_network() -> None:
    loss = ContrastLoss(ContrastConfig(view_weight=1.0, start=0.0, ramp=0.0), RegionEmbedder((3,), 32), 1, 4)
    image, regions = scene(batch=1)
    levels = [drawn(1, 3, 8, 8, 8, seed=s).float() for s in (0, 1)]
    assert loss(levels[:1], image, regions, (), levels[1:])["view"] > 0


def test_prototypes_of_another_dimension_are_refused() -> None:
    with pytest.raises(InputError, match=r"dimension 3, but contrast\.dimension is 4 here"):
        torch_loss().begin_round(0, broadcast(3))


def test_from_two_sites_to_the_server_and_back() -> None:
    server = Prototypes(minimum_count=2, decay=0.5)
    total = torch.zeros(4, dtype=torch.float64)
    for site in ("b", "a"):
        loss = torch_loss()
        for step in range(2):
            loss(features(seed=ord(site) + step), *scene(), (1, 1))
        meta = json.loads(json.dumps(loss.sums_meta()))
        total += torch.tensor(meta["brain"]["sum"][1], dtype=torch.float64)
        server.gather(site, read_prototype_sums({"prototypes": meta}, 2, 4))
    server.close()
    sent = json.loads(json.dumps(server.to_meta()))
    vectors, regions = read_prototypes(sent, 4)
    assert regions.tolist() == [0, 1, 2, 3] and all(entry["expert"] == 1 for entry in sent["entries"])
    torch.testing.assert_close(torch.from_numpy(vectors[0]).double(), total / total.norm(), rtol=1e-6, atol=1e-6)
    loss = torch_loss()
    loss.begin_round(1, sent)
    assert loss(features(), *scene(), (1, 1))["prototype"] > 0
