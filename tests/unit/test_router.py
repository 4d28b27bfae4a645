# SPDX-License-Identifier: Apache-2.0
"""From a scan to its style, from its style to its expert."""

from __future__ import annotations

import numpy as np
import pytest

from fedpac_me.config import RouterConfig, parse_config
from fedpac_me.data.crops import TrainingCrops, _by_expert
from fedpac_me.data.layouts import find_cases
from fedpac_me.data.scan_cache import ScanCache
from fedpac_me.data.style import STYLE, known_figures, style_vector
from fedpac_me.errors import InputError
from fedpac_me.federation.keys import RouterKeys
from fedpac_me.model.router import Router

ALL = np.ones(4, bool)


def volume(seed: int = 0) -> np.ndarray:
    """CDHW, positive inside a box, 0 outside."""
    image = np.zeros((4, 12, 12, 12), np.float32)
    image[:, 2:10, 2:10, 2:10] = np.random.default_rng(seed).gamma(4, 100, (4, 8, 8, 8))
    return image


def style_at(place: float) -> np.ndarray:
    return np.full(len(STYLE), place, np.float32) + (np.arange(len(STYLE)) % 13 == 0)


def router(**config) -> Router:
    """Two keys, at 0 and 10, known to be 1 wide; three quarters of the scans at the first."""
    made = Router(2, RouterConfig(**config))
    keys = np.stack([style_at(0), style_at(10)])
    blank = RouterKeys.blank(2, len(STYLE))
    scale = np.full(len(STYLE), 10.0)
    found = RouterKeys(blank.mean, scale, keys / 10, np.ones_like(keys), np.full(2, 0.1), np.array([0.75, 0.25]))
    made.load(found)
    return made


def test_a_style_does_not_see_the_receivers_gain_nor_the_background():
    image = volume()
    larger = np.pad(3.7 * image, ((0, 0), (5, 0), (0, 3), (1, 1)))
    assert np.allclose(style_vector(image, ALL), style_vector(larger, ALL), atol=1e-4)
    assert not np.allclose(style_vector(image, ALL), style_vector(image**2, ALL), atol=1e-2)


def test_an_absent_modality_says_nothing_and_leaves_the_others_alone():
    image, present = volume(), np.array([True, True, True, False])
    image[3] = 0
    style = style_vector(image, present)
    assert not style[39:].any() and not known_figures(style)[39:].any() and known_figures(style)[:39].all()
    assert np.array_equal(style[:39], style_vector(volume(), ALL)[:39])


def test_the_nearest_key_speaks_and_the_next_is_known():
    found = router().route(style_at(1))
    assert (found.expert, found.second, found.gates) == (0, 1, None)
    assert found.distance == pytest.approx(1, abs=1e-4)
    assert router().route(style_at(9)).expert == 1
    assert found.by_second().expert == 1


def test_a_far_scan_goes_where_the_config_says():
    strange = style_at(4)
    assert router().route(strange).far and router().route(strange).expert == 0
    assert router(far="surest").route(strange).candidates == (0, 1)
    assert router(far="surest").route(style_at(6)).candidates == (1, 0)
    assert router(far="surest").route(style_at(0.5)).candidates == ()
    assert router(far="average").route(strange).gates == pytest.approx((0.75, 0.25))


def test_soft_gates_lean_to_the_nearest_and_sum_to_one():
    gates = router(soft=True).route(style_at(4.9)).gates
    assert sum(gates) == pytest.approx(1) and gates[0] > gates[1] > 0.01


def test_where_experts_are_sites_an_unseen_one_borrows_the_nearest_or_the_average():
    styles = np.stack([style_at(8), style_at(9)])
    assert router(keys="site").route_site(styles, trained=False).expert == 1
    assert router(keys="site").route_site(styles, trained=False).gates is None
    average = router(keys="site", unseen="average")
    assert average.route_site(styles, trained=False).gates == pytest.approx((0.75, 0.25))
    assert average.route_site(styles, trained=True).gates is None


def test_keys_for_another_number_of_experts_are_refused():
    with pytest.raises(ValueError, match="router's keys"):
        router().load(RouterKeys.blank(3, len(STYLE)))


def test_batches_are_of_one_expert_and_come_as_often_as_its_cases():
    experts = [0] * 6 + [3] * 2
    chosen = list(_by_expert(np.random.default_rng(0), experts, 400, 2))
    assert all({experts[case] for case in cases} == {expert} for cases, expert in chosen)
    assert sum(expert == 0 for _, expert in chosen) == pytest.approx(300, abs=40)
    seen = [case for cases, expert in chosen if expert == 0 for case in cases]
    assert sorted(seen[:6]) == list(range(6))


def test_training_crops_know_styles_and_experts(site_folder, tmp_path):
    scans = ScanCache(tmp_path / "scans", parse_config(CONFIG).data)
    crops = TrainingCrops(find_cases([site_folder(cases=2)]), scans, 0, "s")
    assert crops.styles.shape == (2, len(STYLE))
    assert [batch.experts for batch in crops.batches(0, 2, 2, [1, 1])] == [(1, 1)] * 2
    assert next(crops.batches(0, 1, 2)).experts == ()


CONFIG = {"method": "m", "title": "t", "data": {"crop": 16}}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"model": {"norm": "group", "experts": 2}}, "'group'"),
        ({"model": {"experts": 0}}, "model.experts"),
        ({"model": {"own": "head"}, "federation": {"share": "nothing"}}, "leave model.own out"),
        (
            {"model": {"experts": 2}, "router": {"refine": "own_bias"}, "federation": {"share": "nothing"}},
            "leave router.refine out",
        ),
    ],
)
def test_a_config_that_cannot_be_is_a_sentence(wrong, words):
    with pytest.raises(InputError, match=words):
        parse_config({**CONFIG, **wrong})
