# SPDX-License-Identifier: Apache-2.0
"""Test-time statistics: at a site that never trained, batch normalisation takes those of the scan itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt
from small_federation import config, write_hospitals

from fedpac_me.config import Config
from fedpac_me.data.scan import Scan
from fedpac_me.data.site import folder_settings
from fedpac_me.data.style import STYLE
from fedpac_me.engine import first_weights
from fedpac_me.errors import InputError
from fedpac_me.learning.inference import predict_logits
from fedpac_me.learning.site import Site
from fedpac_me.model.backbone import SegmentationNet, build_model
from fedpac_me.model.experts import ExpertNorm
from fedpac_me.model.router import Router, Routing

CPU = torch.device("cpu")
ALL = torch.ones(2, 4)


def fedbn(window_batch: int = 4, **router) -> Config:
    return config(
        model={"experts": 2, "norm": "batch", "shared_affine": False},
        router={"keys": "site", "unseen": "average", **router},
        evaluation={"overlap": 0.25, "window_batch": window_batch},
    )


def network() -> SegmentationNet:
    """Experts that differ in all that they own."""
    model, generator = build_model(fedbn()).eval(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if "experts." in name:
                value += 0.3 * torch.rand(value.shape, generator=generator)
    return model


def scan() -> Scan:
    """Windows of 16 at steps of 12: 3 · 2 · 2 of them."""
    image = np.random.default_rng(0).standard_normal((4, 30, 20, 17)).astype(np.float32)
    box = tuple(slice(0, edge) for edge in image.shape[1:])
    style = np.zeros(len(STYLE), np.float32)
    return Scan(image, np.ones(4, bool), None, box, image.shape[1:], np.eye(4), style, axcodes2ornt("LPS"))


def test_a_layer_normalises_by_what_it_sees_and_scales_as_the_expert_does():
    layer = next(module for module in network().modules() if isinstance(module, ExpertNorm))
    x = 5 + 3 * torch.randn(2, len(layer.weight), 6, 6, 6, generator=torch.Generator().manual_seed(0))
    layer._speaker.expert, layer._speaker.by_batch = 1, True
    plain = (x - x.mean((0, 2, 3, 4), keepdim=True)) / x.var((0, 2, 3, 4), unbiased=False, keepdim=True).sqrt()
    of_channel = (slice(None), None, None, None)
    scale, shift = layer.weight + layer.experts[1].weight, layer.bias + layer.experts[1].bias
    torch.testing.assert_close(layer(x), plain * scale[of_channel] + shift[of_channel], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("gates", [None, (0.25, 0.75)], ids=["one", "mixture"])
def test_kept_statistics_do_not_enter_and_do_not_move(gates):
    model, image = network(), torch.randn(2, 4, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    routes = [Routing(1, gates=gates, by_scan=True)] * 2
    before = model(image, ALL, routes)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if "running" in name:
                value += 1.0
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    assert torch.equal(model(image, ALL, routes), before)
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert not torch.allclose(model(image, ALL, [Routing(1, gates=gates)] * 2), before, atol=1e-2)


def test_a_batch_of_both_is_each_alone():
    model, image = network(), torch.randn(2, 4, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    routes = [Routing(1, by_scan=True), Routing(1)]
    together = model(image, ALL, routes)
    for index, route in enumerate(routes):
        alone = model(image[index : index + 1], ALL[:1], [route])
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-5, atol=1e-5)


def test_all_windows_of_a_scan_are_normalised_together():
    """Whatever the batch of windows is; without it the statistics would be those of a few windows."""
    model, sizes = network(), []
    model.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    by_scan = Routing(1, by_scan=True)
    few, many = (predict_logits(model, scan(), fedbn(size), CPU, by_scan) for size in (2, 5))
    assert sizes == [12, 12] and np.array_equal(few, many)
    kept = predict_logits(model, scan(), fedbn(4), CPU, Routing(1))
    assert sizes[2:] == [4, 4, 4] and not np.allclose(kept, few, atol=1e-2)


def test_only_a_site_that_never_trained_is_asked_for_them():
    made, styles = Router(2, fedbn(unseen_statistics="scan").router), np.zeros((3, len(STYLE)), np.float32)
    unseen = made.route_site(styles, trained=False)
    assert unseen.by_scan and unseen.gates == (0.5, 0.5) and unseen.by_second().by_scan
    assert not made.route_site(styles, trained=True).by_scan
    assert not Router(2, fedbn().router).route_site(styles, trained=False).by_scan


@pytest.mark.slow
def test_in_a_federation_the_unseen_sites_figures_alone_change(tmp_path: Path):
    data, found = write_hospitals(tmp_path / "data"), {}
    for kept in ("kept", "scan"):
        made = fedbn(unseen_statistics=kept)
        sites = [
            Site(f"site-{n}", made, folder_settings(data / f"site-{n}"), tmp_path / kept / f"{n}") for n in (1, 2, 3)
        ]
        weights = first_weights(made, sites)
        found[kept] = {site.name: site.evaluate(weights, "final")["cases"] for site in sites}
        routes = {site.name: site._route(site._load(site.split.test[0])) for site in sites}
        assert {name: route.by_scan for name, route in routes.items()} == {
            "site-1": False, "site-2": False, "site-3": kept == "scan",
        }  # fmt: skip
    drop = {"seconds"}
    figures = {
        kept: {site: [{k: v for k, v in row.items() if k not in drop} for row in rows] for site, rows in sites.items()}
        for kept, sites in found.items()
    }
    assert figures["kept"]["site-1"] == figures["scan"]["site-1"]
    assert figures["kept"]["site-3"] != figures["scan"]["site-3"]


@pytest.mark.parametrize(
    "wrong", [{"model": {"norm": "instance"}}, {"router": {"keys": "style"}}], ids=["no statistics", "no sites"]
)
def test_a_network_without_such_statistics_is_a_sentence(wrong):
    changes = {"model": {"experts": 2, "norm": "batch"}, "router": {"keys": "site", "unseen_statistics": "scan"}}
    merged = {part: {**section, **wrong.get(part, {})} for part, section in changes.items()}
    with pytest.raises(InputError, match=r"'scan' needs router\.keys 'site' and model\.norm 'batch'"):
        config(**merged)
