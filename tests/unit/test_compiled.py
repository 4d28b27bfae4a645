# SPDX-License-Identifier: Apache-2.0
"""``learning.compile``: the same result to rounding, and training goes on where compiling fails."""

from __future__ import annotations

import copy
import logging
from functools import partial

import pytest
import torch

from fedpac_me.config import parse_config
from fedpac_me.model.backbone import SegmentationNet, build_model
from fedpac_me.model.router import Routing

IMAGE = torch.randn(1, 4, 16, 16, 16, generator=torch.Generator().manual_seed(0))


def network(**learning) -> SegmentationNet:
    model = {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1], "experts": 2, "adapter_rank": 1}
    return build_model(parse_config({"method": "m", "title": "t", "model": model, "learning": learning})).train()


def learned(model: SegmentationNet, expert: int) -> list[torch.Tensor]:
    """Logits and the gradient of the first weights."""
    logits = model(IMAGE, torch.ones(1, 4), [Routing(expert)])
    gradient = torch.autograd.grad(logits.square().mean(), model.backbone.convInit.conv.weight)
    return [logits.detach(), *gradient]


@pytest.fixture
def backend(monkeypatch):
    """Has ``torch.compile`` end in a backend of the test's; returns the graphs that came to it."""
    torch.compiler.reset()
    graphs: list[torch.fx.GraphModule] = []

    def use(outcome: Exception | None = None) -> list[torch.fx.GraphModule]:
        def take(graph: torch.fx.GraphModule, example: list) -> object:
            graphs.append(graph)
            if outcome is not None:
                raise outcome
            return graph.forward

        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=take))
        return graphs

    yield use
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiled_the_result_is_the_same_for_every_expert_and_in_a_copy(backend, checkpointing):
    graphs = backend()
    plain, fast = network(), network(compile=True, checkpointing=checkpointing)
    assert plain.state_dict().keys() == fast.state_dict().keys()
    moved = copy.deepcopy(fast)
    with torch.no_grad():
        moved.backbone.convInit.conv.weight.mul_(2)
    for expert in (0, 1):
        for one, other in zip(learned(plain, expert), learned(fast, expert), strict=True):
            assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)
    assert graphs
    assert not torch.allclose(learned(moved, 0)[0], learned(plain, 0)[0], atol=1e-3)


def test_where_compiling_fails_a_sentence_says_so_once_and_training_goes_on(backend, caplog):
    graphs = backend(RuntimeError("no compiler found"))
    plain, fast = network(), network(compile=True)
    with caplog.at_level(logging.WARNING, logger="fedpac_me.model.compiled"):
        found = [learned(fast, expert) for expert in (0, 1)]
    (told,) = caplog.messages
    assert "cannot be compiled" in told and "no compiler found" in told
    assert len(graphs) == 1
    for expert in (0, 1):
        assert all(torch.equal(a, b) for a, b in zip(found[expert], learned(plain, expert), strict=True))


def test_a_prediction_is_not_compiled(backend):
    graphs = backend(RuntimeError("no compiler found"))
    network(compile=True).eval()(IMAGE, torch.ones(1, 4))
    assert not graphs
