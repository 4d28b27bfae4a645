# SPDX-License-Identifier: Apache-2.0
"""The network as a program: the same answers as the network's, the router's choice included."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

from fedpac_me.config import parse_config
from fedpac_me.data.style import STYLE
from fedpac_me.errors import InputError
from fedpac_me.federation.keys import RouterKeys
from fedpac_me.model.backbone import build_model
from fedpac_me.model.exported import FACTS_FILE, ExportedNet, export_program, save_program

pytestmark = pytest.mark.slow


def config(experts: int, norm: str, **router):
    model = {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1], "experts": experts, "norm": norm, "own": "head"}
    model["adapter_rank"] = 2 if experts > 1 else 0
    return parse_config({"method": "m", "title": "t", "data": {"crop": 16}, "model": model, "router": router})


def network(made):
    """Keys at 0, 1, 2 in every figure but the presence bits; nothing in it is as it was initialised."""
    model, generator = build_model(made).eval(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in model.state_dict().values():
            value += 0.2 * torch.rand(value.shape, generator=generator)
    if model.router is not None:
        present = np.arange(len(STYLE)) % 13 == 0
        ones = np.ones((3, len(STYLE)), np.float32)
        keys = np.where(present, 1, np.arange(3)[:, None]).astype(np.float32)
        model.router.load(RouterKeys(ones[0] * 0, ones[0], keys, ones, ones[:, 0] * 0.4, np.float32([0.5, 0.3, 0.2])))
    return model


def style_at(place: float) -> np.ndarray:
    return np.where(np.arange(len(STYLE)) % 13 == 0, 1, place).astype(np.float32)


@pytest.mark.parametrize(
    ("experts", "norm", "router"),
    [(3, "instance", {}), (3, "batch", {"soft": True, "far": "average"}), (1, "batch", {})],
)
def test_it_answers_as_the_network_does(tmp_path, experts, norm, router):
    made = config(experts, norm, **router)
    model = network(made)
    save_program(export_program(model, made), made, tmp_path / "model.pt2")
    facts = {FACTS_FILE: ""}
    program = torch.export.load(tmp_path / "model.pt2", extra_files=facts).module()
    assert json.loads(facts[FACTS_FILE])["regions"] == ["TC", "WT", "ET"]
    image = torch.randn(3, 4, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    answers = []
    for place, missing in ((0.2, None), (1.1, None), (1.9, 3), (9.0, None)):
        present, style = torch.ones(3, 4), style_at(place)
        if missing is not None:
            present[:, missing] = 0
            style[13 * missing : 13 * (missing + 1)] = 0
        routes = [model.router.route(style)] * 3 if experts > 1 else None
        answers.append(program(image, present, torch.from_numpy(style)))
        torch.testing.assert_close(answers[-1], model(image, present, routes), rtol=1e-4, atol=1e-4)
    assert torch.equal(answers[0], answers[1]) == (experts == 1)


@pytest.mark.parametrize(
    "router",
    [{}, {"far": "average"}, {"soft": True}, {"soft": True, "far": "average"}, {"refine": "figures"}],
    ids=str,
)
def test_the_program_chooses_as_the_router_does(router):
    model, rng = network(config(3, "instance", **router)), np.random.default_rng(0)
    # The last key is of scans that had nothing but the last modality.
    model.router.known[2, :39] = 0
    for _ in range(200):
        style = style_at(rng.uniform(0, 3)) + np.where(style_at(0) == 1, 0, rng.normal(0, 0.3, len(STYLE)))
        style[13 * (missing := rng.integers(4)) : 13 * (missing + 1)] = 0
        style = style.astype(np.float32)
        route = model.router.route(style)
        expected = route.gates or np.eye(3)[route.expert]
        found = ExportedNet(model).gates(torch.from_numpy(style)).detach()
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_for_a_far_scan_of_which_the_surest_should_speak_the_nearest_does():
    model, style = network(config(3, "instance", soft=True, far="surest")), style_at(9)
    assert model.router.route(style).candidates == (2, 1, 0)
    assert ExportedNet(model).gates(torch.from_numpy(style)).tolist() == [0, 0, 1]


def test_exporting_leaves_the_network_as_it_was():
    made = config(3, "instance")
    model = network(made).train()
    export_program(model, made)
    assert model.training
    copy.deepcopy(model)


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "model.pt2").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        save_program(None, config(1, "instance"), tmp_path / "model.pt2")
