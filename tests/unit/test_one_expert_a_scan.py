# SPDX-License-Identifier: Apache-2.0
"""One expert speaks for every window of a scan, so no seam runs where windows meet."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt

from fedpac_me.config import Config, parse_config
from fedpac_me.data.scan import Scan
from fedpac_me.data.style import STYLE
from fedpac_me.federation.keys import RouterKeys
from fedpac_me.learning.inference import predict, predict_logits
from fedpac_me.model.backbone import SegmentationNet, build_model
from fedpac_me.model.router import Router, Routing

CPU = torch.device("cpu")
NORMS = ("batch", "instance")
EXPERTS = 3
REACH = 12
"""Voxels that a logit of the network below can depend on, along each axis: 1 (first convolution), 2 (first block), 1
(down), 2 · 2 (block at half the resolution), 2 (up), 2 (last block).
"""


def config(norm: str = "instance", crop: int = 16, overlap: float = 0.25, **router) -> Config:
    return parse_config(
        {
            "method": "m",
            "title": "t",
            "data": {"crop": crop},
            "model": {
                "filters": 4, "blocks_down": [1, 1], "blocks_up": [1], "norm": norm, "experts": EXPERTS,
                "adapter_rank": 2,
            },
            "router": router,
            "evaluation": {"overlap": overlap, "window_batch": 4},
        }
    )  # fmt: skip


def network(made: Config) -> SegmentationNet:
    """Experts that differ in all that they own; keys at -1, 0 and 1 with a radius of ``0.1``."""
    model, generator = build_model(made), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if "experts." in name:
                value += 0.3 * torch.rand(value.shape, generator=generator)
    blank = RouterKeys.blank(EXPERTS, len(STYLE))
    keys = np.stack([np.full(len(STYLE), place) for place in (-1.0, 0.0, 1.0)])
    shares = np.array([0.5, 0.3, 0.2])
    model.router.load(RouterKeys(blank.mean, blank.scale, keys, blank.known, np.full(EXPERTS, 0.1), shares))
    return model.eval()


def scan(shape: tuple[int, int, int], place: float = 0.95) -> Scan:
    """A scan that fills its box; its style lies at ``place``, nearest to the last key."""
    image = np.random.default_rng(0).standard_normal((4, *shape)).astype(np.float32)
    style = np.full(len(STYLE), place, np.float32)
    box = tuple(slice(0, edge) for edge in shape)
    return Scan(image, np.ones(4, bool), None, box, shape, np.eye(4), style, axcodes2ornt("LPS"))


def whole(model: SegmentationNet, one: Scan, route: Routing) -> np.ndarray:
    """The logits of one forward of the whole scan."""
    with torch.inference_mode():
        return model(torch.from_numpy(one.image)[None], torch.ones(1, 4), [route])[0].numpy()


@pytest.fixture
def heard(monkeypatch) -> list[Routing]:
    """The answers of every router that is asked."""
    answers, ask = [], Router.route

    def noted(router: Router, style: np.ndarray) -> Routing:
        answers.append(ask(router, style))
        return answers[-1]

    monkeypatch.setattr(Router, "route", noted)
    return answers


def spoken(model: SegmentationNet) -> list[list[Routing]]:
    """Collects the routes of every batch of windows that ``model`` will see."""
    batches: list[list[Routing]] = []
    model.register_forward_pre_hook(lambda _, given: batches.append(list(given[2])))
    return batches


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("router", "place"),
    [({}, 0.95), ({"soft": True}, 0.45), ({"far": "average"}, 0.6)],
    ids=["nearest", "soft", "far: average"],
)
def test_the_router_is_asked_once_and_every_window_has_its_answer(heard, norm, router, place):
    made = config(norm, **router)
    model = network(made)
    batches = spoken(model)
    route = predict(model, scan((30, 20, 17), place), made, CPU).route
    (answer,) = heard
    # Windows of 16 at steps of 12: 3 · 2 · 2 of them, four in a batch.
    assert [len(batch) for batch in batches] == [4, 4, 4]
    assert {one for batch in batches for one in batch} == {answer} == {route}
    assert (route.gates is None) == (router == {})


def test_the_surest_of_several_speaks_for_the_whole_scan(heard):
    made = config(far="surest")
    model = network(made)
    batches = spoken(model)
    one = scan((30, 20, 17), 0.6)
    prediction = predict(model, one, made, CPU)
    (answer,) = heard
    # All windows for one candidate, then all for the next; what is heard is one candidate's answer alone.
    assert [{asked.expert for asked in batch} for batch in batches] == [
        {e} for e in answer.candidates for _ in range(3)
    ]
    assert sorted(answer.candidates) == list(range(EXPERTS))
    alone = [predict(model, one, made, CPU, Routing(expert)).logits for expert in range(EXPERTS)]
    equal = [np.array_equal(prediction.logits, logits) for logits in alone]
    assert equal == [expert == prediction.route.expert for expert in range(EXPERTS)]


def test_where_the_caller_knows_who_speaks_the_router_is_not_asked(heard):
    model = network(config())
    batches = spoken(model)
    predict(model, scan((30, 20, 17)), config(), CPU, Routing(1))
    assert not heard and {one for batch in batches for one in batch} == {Routing(1)}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("expert", range(EXPERTS))
def test_one_window_is_the_whole_forward(norm, expert):
    made = config(norm)
    model, one, route = network(made), scan((16, 16, 16)), Routing(expert)
    logits = predict_logits(model, one, made, CPU, route)
    assert np.allclose(logits, whole(model, one, route), rtol=0, atol=1e-5)
    others = [whole(model, one, Routing(other)) for other in range(EXPERTS) if other != expert]
    assert not any(np.allclose(logits, other, rtol=0, atol=1e-2) for other in others)


@pytest.mark.parametrize("route", [Routing(1), Routing(0, gates=(0.2, 0.3, 0.5))], ids=["one", "mixture"])
def test_far_from_borders_of_windows_batch_norm_has_no_seam(route):
    """Windows of 40 at steps of 10 in 50 voxels: 10 to 39 belong to two windows, the middle 22 to 27 to the core of
    both. Along the last axis a window is as long as the scan.
    """
    made = config("batch", crop=40, overlap=0.75)
    model, one = network(made), scan((50, 50, 40))
    expected = whole(model, one, route)
    batches = spoken(model)
    difference = np.abs(predict_logits(model, one, made, CPU, route) - expected)
    assert sum(map(len, batches)) == 2 * 2
    core = slice(10 + REACH, 40 - REACH)
    assert math.prod(difference[:, core, core].shape) == 3 * 6 * 6 * 40
    assert difference[:, core, core].max() < 1e-4
    # What a window cannot see does matter nearer to its border: the core is not equal for want of contrast.
    assert difference.max() > 1e-3
