# SPDX-License-Identifier: Apache-2.0
"""What gradient adds to the router's keys: for all sites, or for one hospital alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedpac_me.config import parse_config
from fedpac_me.data.site import folder_settings
from fedpac_me.data.style import STYLE
from fedpac_me.errors import InputError
from fedpac_me.federation.keys import RouterKeys
from fedpac_me.learning.site import Site
from fedpac_me.learning.site_state import SiteState
from fedpac_me.model.backbone import build_model, get_weights
from fedpac_me.model.own import is_own

KINDS = ("figures", "own_bias")


def config(refine: str, **router):
    return parse_config(
        {
            "method": "m",
            "title": "t",
            "data": {"crop": 16},
            "model": {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1], "experts": 2, "adapter_rank": 2},
            "router": {"refine": refine, "refine_every": 1, **router},
            "learning": {"steps_per_round": 4},
            "federation": {"rounds": 2},
        }
    )


def network(refine: str):
    """Keys at 0 and at 1 in every figure but the presence bits, 1 wide; the experts differ."""
    model = build_model(config(refine))
    present = (np.arange(len(STYLE)) % 13 == 0).astype(np.float32)
    ones = np.ones((2, len(STYLE)), np.float32)
    keys = np.stack([present, ones[0]])
    model.router.load(RouterKeys(ones[0] * 0, ones[0], keys, ones, ones[:, 0], ones[:, 0] / 2))
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if "experts.1." in name:
                value += 0.3
    return model


def style_at(place: float) -> np.ndarray:
    return np.where(np.arange(len(STYLE)) % 13 == 0, 1, place).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [-0.3, 0.2, 0.49, 0.51, 0.9])
def test_before_it_has_learned_it_chooses_as_the_keys_do(kind, place):
    plain, refined = network("nothing").router.route(style_at(place)), network(kind).router.route(style_at(place))
    assert (refined.expert, refined.second) == (plain.expert, plain.second)
    assert refined.distance == plain.distance


def test_a_leaning_moves_the_border():
    model = network("own_bias")
    with torch.no_grad():
        model.router.gate.own.bias[1] = 0.5
    assert model.router.route(style_at(0.4)).expert == 1
    assert model.router.route(style_at(0.1)).expert == 0


def test_weights_of_figures_decide_what_counts():
    model, style = network("figures"), style_at(0.3)
    style[1] = 1.0
    assert model.router.route(style).expert == 0
    with torch.no_grad():
        model.router.gate.attention[1] = 6.0
    assert model.router.route(style).expert == 1


@pytest.mark.parametrize("kind", KINDS)
def test_gates_sum_to_one_and_carry_gradient_to_the_gate(kind):
    model = network(kind)
    gates = model.router.gates(torch.from_numpy(np.stack([style_at(0.1), style_at(0.3)])))
    assert gates.sum().item() == pytest.approx(1, abs=1e-6) and gates[0] > gates[1]
    gates[0].backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.router.gate.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_training_refines_the_gate_and_moves_no_expert_that_nobody_used(split_site, tmp_path, kind):
    weights = get_weights(network(kind))
    site = Site("s", config(kind), folder_settings(split_site), tmp_path)
    update = site.train(weights, 0)
    used = {int(np.argmax(update.meta["expert_mass"]))}
    sent = {int(name.split("experts.")[1].split(".")[0]) for name in update.diff if "experts." in name}
    assert sent == used
    if kind == "figures":
        assert update.diff["router.gate.attention"].any()
    else:
        assert not any(map(is_own, update.diff))
        assert SiteState.load(tmp_path, torch.device("cpu")).weights["router.gate.own.bias"].any()
    after = site.trainer.model.state_dict()
    idle = f"experts.{1 - used.pop()}."
    assert all(np.array_equal(after[name].numpy(), value) for name, value in weights.items() if idle in name)


@pytest.mark.parametrize(
    "changes", [{"model": {"experts": 2, "norm": "batch"}}, {"model": {"experts": 1}}, {"router": {"keys": "site"}}]
)
def test_a_gate_without_a_choice_is_refused(changes):
    content = {"method": "m", "title": "t", "model": {"experts": 2}, "router": {}}
    merged = content | changes | {"router": {"refine": "figures", **changes.get("router", {})}}
    with pytest.raises(InputError, match=r"router\.refine needs"):
        parse_config(merged)
