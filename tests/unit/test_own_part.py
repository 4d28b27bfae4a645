# SPDX-License-Identifier: Apache-2.0
"""What a hospital keeps of the network for itself: it learns, stays on disk, and never travels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fedpac_me.config import parse_config
from fedpac_me.data.site import folder_settings
from fedpac_me.errors import InputError
from fedpac_me.learning.predict import add_own_part
from fedpac_me.learning.site import Site
from fedpac_me.learning.site_state import SiteState
from fedpac_me.model.backbone import build_model, get_weights
from fedpac_me.model.experts import fold
from fedpac_me.model.own import is_own, own_state
from fedpac_me.model.router import Routing

KINDS = ("head", "all")


def config(own: str, **model):
    return parse_config(
        {
            "method": "m",
            "title": "t",
            "data": {"crop": 16},
            "model": {"filters": 4, "blocks_down": [1, 1], "blocks_up": [1], "own": own, **model},
            "learning": {"steps_per_round": 2},
            "federation": {"rounds": 2},
        }
    )


@pytest.mark.parametrize("own", KINDS)
def test_it_learns_and_stays(split_site, tmp_path, own):
    made = config(own)
    weights = get_weights(build_model(made))
    update = Site("s", made, folder_settings(split_site), tmp_path).train(weights, 0)
    assert update.diff.keys() == weights.keys() and not any(map(is_own, update.diff))
    kept = SiteState.load(tmp_path, torch.device("cpu")).weights
    assert kept.keys() == own_state(build_model(made)).keys()
    assert all(value.any() for value in kept.values())


@pytest.mark.parametrize("own", KINDS)
def test_a_rebuilt_site_has_it_again(split_site, tmp_path, own):
    made = config(own)
    weights = get_weights(build_model(made))
    lasting = Site("s", made, folder_settings(split_site), tmp_path)
    lasting.train(weights, 0)
    rebuilt = Site("s", made, folder_settings(split_site), tmp_path)
    rebuilt.evaluate(weights, "final")
    kept = own_state(lasting.trainer.model)
    assert all(torch.equal(value, kept[name]) for name, value in own_state(rebuilt.trainer.model).items())


def test_a_site_that_never_trained_has_the_shared_network(split_site, tmp_path):
    made = config("all")
    site = Site("s", made, folder_settings(split_site), tmp_path)
    site.evaluate(get_weights(build_model(made)), "final")
    assert not any(value.any() for value in own_state(site.trainer.model).values())


@pytest.mark.parametrize("own", KINDS)
def test_before_it_has_learned_the_network_is_the_plain_one_to_the_byte(own):
    image, present = torch.randn(1, 4, 16, 16, 16), torch.ones(1, 4)
    plain, with_own = build_model(config("nothing")), build_model(config(own))
    assert {name.replace(".experts.0", "") for name in get_weights(with_own)} >= set(get_weights(plain))
    assert torch.equal(plain(image, present), with_own(image, present))


def test_folding_keeps_it():
    model = build_model(config("all", experts=2)).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if is_own(name) and name.startswith("backbone"):
                value += 0.3
    image, present = torch.randn(1, 4, 16, 16, 16), torch.ones(1, 4)
    folded = fold(model.backbone, 1)(image).detach().numpy()
    assert np.allclose(folded, model(image, present, [Routing(1)]).detach().numpy(), atol=1e-5)


def test_a_prediction_may_use_it(split_site, tmp_path):
    made = config("all")
    weights = get_weights(build_model(made))
    site = Site("s", made, folder_settings(split_site), tmp_path)
    site.train(weights, 0)
    model = build_model(made)
    add_own_part(model, tmp_path)
    kept = own_state(site.trainer.model)
    assert all(torch.equal(value, kept[name]) for name, value in own_state(model).items())


@pytest.mark.parametrize("own", ["nothing", "head"])
def test_a_part_of_another_network_is_refused(split_site, tmp_path, own):
    made = config(own)
    Site("s", made, folder_settings(split_site), tmp_path / "state").train(get_weights(build_model(made)), 0)
    for folder in ("state", "nowhere"):
        with pytest.raises(InputError, match="does not hold a site's own part"):
            add_own_part(build_model(config("all")), tmp_path / folder)
