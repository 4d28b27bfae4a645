# SPDX-License-Identifier: Apache-2.0
"""``learning.checkpointing``: the same gradients from less memory."""

from __future__ import annotations

import pytest
import torch

from fedpac_me.config import Config, parse_config
from fedpac_me.errors import InputError
from fedpac_me.learning.losses import RegionLoss
from fedpac_me.model.backbone import SegmentationNet, build_model
from fedpac_me.model.router import Routing


def config(checkpointing: bool, **model) -> Config:
    model = {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1], **model}
    content = {"method": "m", "title": "t", "model": model, "learning": {"checkpointing": checkpointing}}
    return parse_config(content)


def network(made: Config) -> SegmentationNet:
    """Experts that differ in all that they own."""
    model, generator = build_model(made), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "experts." in name:
                value += 0.3 * torch.rand(value.shape, generator=generator)
    return model.train()


def learned(model: SegmentationNet, experts: tuple[int, ...]) -> tuple[torch.Tensor, dict[str, torch.Tensor], int]:
    """Loss and gradients of one batch, and the bytes that were kept in between."""
    image = torch.randn(len(experts), 4, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    routes = [Routing(expert) for expert in experts]
    kept: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(3)  # dropout
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        loss = RegionLoss()(model(image, torch.ones(len(experts), 4), routes), (image[:, :3] > 1).float())
    loss.backward()
    gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    return loss.detach(), gradients, sum(kept.values())


@pytest.mark.parametrize(
    ("model", "experts"),
    [
        ({}, (0, 0)),
        ({"norm": "group", "dropout": 0.3}, (0, 0)),
        ({"own": "last_layer"}, (0, 0)),
        ({"experts": 3, "adapter_rank": 2}, (1, 1)),
        # Cut up: when the gradient comes back to expert 2, expert 1 has spoken since.
        ({"experts": 3, "adapter_rank": 2, "own": "all"}, (2, 1)),
    ],
    ids=["plain", "dropout", "own last layer", "one expert", "two experts in a batch"],
)
def test_the_same_gradients_from_less_memory(model, experts):
    loss, gradients, kept = learned(network(config(False, **model)), experts)
    other_loss, other_gradients, other_kept = learned(network(config(True, **model)), experts)
    assert torch.allclose(loss, other_loss, rtol=0, atol=1e-6)
    assert gradients.keys() == other_gradients.keys()
    for name, gradient in gradients.items():
        assert torch.allclose(gradient, other_gradients[name], rtol=1e-4, atol=1e-6), name
    assert other_kept < 0.6 * kept


def test_a_mixture_that_carries_gradient_gets_the_same():
    image, found = torch.randn(1, 4, 16, 16, 16, generator=torch.Generator().manual_seed(0)), []
    for on in (False, True):
        gates = torch.tensor([0.2, 0.3, 0.5], requires_grad=True)
        logits = network(config(on, experts=3, adapter_rank=2)).mixed(image, torch.ones(1, 4), gates)
        found += torch.autograd.grad(logits.square().mean(), gates)
    assert torch.allclose(*found, rtol=1e-4, atol=1e-6) and found[0].abs().max() > 1e-3


def test_the_names_of_the_weights_are_the_same_and_a_prediction_too():
    plain, saving = (network(config(on)).eval() for on in (False, True))
    assert plain.state_dict().keys() == saving.state_dict().keys()
    image, present = torch.randn(1, 4, 16, 16, 16, generator=torch.Generator().manual_seed(0)), torch.ones(1, 4)
    with torch.inference_mode():
        assert torch.equal(plain(image, present), saving(image, present))


def test_batch_statistics_would_be_counted_twice():
    with pytest.raises(InputError, match=r"learning\.checkpointing computes activations twice"):
        config(True, norm="batch")
