# SPDX-License-Identifier: Apache-2.0
"""Experts in the network: what each owns, who speaks, and what folding leaves."""

from __future__ import annotations

import copy

import pytest
import torch

from fedpac_me.config import Config
from fedpac_me.federation.schema import Schema
from fedpac_me.model.backbone import SegmentationNet, build_model, get_weights, set_weights
from fedpac_me.model.experts import Adapter, fold
from fedpac_me.model.router import Routing

IMAGE = torch.randn(2, 4, 16, 16, 16, generator=torch.Generator().manual_seed(0))
ALL = torch.ones(2, 4)
NORMS = ("batch", "instance")


def network(norm: str, experts: int = 3, rank: int = 2, seed: int = 0) -> SegmentationNet:
    model = {
        "filters": 4, "blocks_down": (1, 1), "blocks_up": (1,), "norm": norm, "experts": experts, "adapter_rank": rank,
    }  # fmt: skip
    return build_model(Config(method="m", title="t", seed=seed, model=model))


def apart(norm: str) -> SegmentationNet:
    """A network whose experts differ in all that they own."""
    made, generator = network(norm), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in made.state_dict().items():
            if "experts." in name:
                value += 0.2 * torch.rand(value.shape, generator=generator)
    return made.eval()


@pytest.mark.parametrize("norm", NORMS)
def test_one_expert_without_adapters_is_the_plain_network_to_the_byte(norm):
    plain = network(norm, experts=1, rank=0)
    assert not any("experts." in name for name in plain.state_dict())
    assert torch.equal(plain(IMAGE, ALL), plain.backbone(IMAGE))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("training", [True, False])
def test_experts_that_have_learned_nothing_give_the_plain_network_to_the_byte(norm, training):
    plain, many = network(norm, experts=1, rank=0).train(training), network(norm).train(training)
    assert torch.equal(plain(IMAGE, ALL), many(IMAGE, ALL, [Routing(2)] * 2))


def test_names_say_what_belongs_to_an_expert():
    schema = Schema.learn(get_weights(network("batch")))
    assert schema.experts == 3
    assert all("router." not in name for keys in schema.expert_keys for name in keys)
    kinds = {name.rpartition(".")[2] for name in schema.expert_keys[0]}
    assert kinds == {"weight", "bias", "running_mean", "running_var", "up", "down"}
    assert not any("convInit" in name for name in schema.expert_keys[0])


@pytest.mark.parametrize("norm", NORMS)
def test_folded_is_unfolded(norm):
    made = apart(norm)
    folded = fold(made.backbone, 1)
    assert not any("experts." in name for name in folded.state_dict())
    torch.testing.assert_close(folded(IMAGE), made(IMAGE, ALL, [Routing(1)] * 2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_a_mixed_batch_is_each_sample_with_its_own_expert(norm):
    made = apart(norm)
    together = made(IMAGE, ALL, [Routing(2), Routing(0)])
    for index, expert in enumerate((2, 0)):
        alone = made(IMAGE[index : index + 1], ALL[:1], [Routing(expert)])
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(together[1], made(IMAGE, ALL, [Routing(2)] * 2)[1], atol=1e-3)


@pytest.mark.parametrize("norm", NORMS)
def test_gates_on_one_expert_are_that_expert(norm):
    made = apart(norm)
    gated = made(IMAGE, ALL, [Routing(0, gates=(0.0, 1.0, 0.0))] * 2)
    torch.testing.assert_close(gated, made(IMAGE, ALL, [Routing(1)] * 2), rtol=1e-5, atol=1e-5)


def test_a_mixture_has_the_moments_of_what_its_experts_saw_together():
    norm = next(module for module in apart("batch").modules() if hasattr(module, "has_statistics"))
    # Half of the voxels around 1 with variance 2, half around 3 with variance 4: mean 2, variance 3 + 1.
    for style, (mean, variance) in zip(norm.experts, ((1, 2), (3, 4), (0, 1)), strict=True):
        style.running_mean.fill_(mean), style.running_var.fill_(variance)
        torch.nn.init.zeros_(style.weight), torch.nn.init.zeros_(style.bias)
    norm._speaker.gates = torch.tensor([0.5, 0.5, 0.0])
    x = torch.full((1, len(norm.weight), 1, 1, 1), 6.0)
    torch.testing.assert_close(norm.eval()(x), (x - 2) / (4 + norm.eps) ** 0.5)


@pytest.mark.parametrize("batch", [1, 2])
def test_training_one_expert_moves_the_trunk_and_it_and_no_other(batch):
    made = network("batch").train()
    before = copy.deepcopy(made.state_dict())
    optimizer = torch.optim.AdamW(made.parameters(), lr=0.01, weight_decay=0.1, fused=True)
    for _ in range(3):
        optimizer.zero_grad(set_to_none=True)
        made(IMAGE[:batch], ALL[:batch], [Routing(1)] * batch).square().mean().backward()
        optimizer.step()
    after = made.state_dict()
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert {name for name in moved if "experts.0." in name or "experts.2." in name or "router." in name} == set()
    assert any("experts.1.up" in name for name in moved) and any("experts" not in name for name in moved)
    assert all(torch.isfinite(value).all() for value in after.values())


def test_an_adapter_starts_at_zero_and_can_leave_it():
    adapter = Adapter(3, 5, 2)
    assert not adapter().any()
    adapter().sum().backward()
    assert adapter.up.grad.any()


@pytest.mark.parametrize("norm", NORMS)
def test_weights_go_round_and_a_copy_is_independent(norm):
    one, other = apart(norm), network(norm, seed=1).eval()
    set_weights(other, get_weights(one))
    copied = copy.deepcopy(one)
    copied(IMAGE, ALL, [Routing(2)] * 2)
    assert torch.equal(other(IMAGE, ALL, [Routing(1)] * 2), one(IMAGE, ALL, [Routing(1)] * 2))


def test_under_bfloat16_and_channels_last():
    made = apart("batch").to(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = made(IMAGE.to(memory_format=torch.channels_last_3d), ALL, [Routing(1)] * 2)
    torch.testing.assert_close(low.float(), made(IMAGE, ALL, [Routing(1)] * 2), rtol=0.1, atol=0.1)


@pytest.mark.slow
def test_under_torch_compile_each_expert_speaks():
    made = apart("instance")
    compiled = torch.compile(made, backend="aot_eager")
    for expert in (0, 2):
        routes = [Routing(expert)] * 2
        torch.testing.assert_close(compiled(IMAGE, ALL, routes), made(IMAGE, ALL, routes), rtol=1e-5, atol=1e-5)
