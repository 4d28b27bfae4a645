# SPDX-License-Identifier: Apache-2.0
"""Federated k-means: the keys that all sites find together."""

from __future__ import annotations

import numpy as np
import pytest

from fedpac_me.errors import InputError
from fedpac_me.federation import kmeans as kmeans_module
from fedpac_me.federation.keys import KeySearch, RouterKeys, answer
from fedpac_me.federation.kmeans import Points, kmeans, square_distances
from fedpac_me.federation.rejection import Rejected

FIGURES = 3
STYLES = np.array([[0.0, 0, 5], [9, 0, 5], [0, 9, 5]])


def scans(counts: list[int], seed: int) -> np.ndarray:
    """Scans of a site: ``counts`` of each style, with a little noise."""
    rng = np.random.default_rng(seed)
    return np.concatenate([STYLES[i] + 0.1 * rng.standard_normal((n, FIGURES)) for i, n in enumerate(counts)])


SITES = {"a": scans([6, 3, 0], 1), "b": scans([0, 5, 4], 2), "c": scans([3, 0, 6], 3)}


def search(
    sites: dict[str, np.ndarray] = SITES, experts: int = 3, by_site: bool = False, order: int = 1, known=None
) -> RouterKeys:
    made = KeySearch(experts, by_site, FIGURES, seed=0)
    while (question := made.question) is not None:
        for site in sorted(sites)[::order]:
            there = np.ones(sites[site].shape, bool) if known is None else known[site]
            made.accept(site, answer(question, sites[site], there, local_clusters=3, seed=0))
        made.close()
    return made.result()


def unscaled(keys: RouterKeys) -> np.ndarray:
    return keys.keys * keys.scale + keys.mean


def test_the_keys_are_the_styles_and_the_exact_means_of_their_scans():
    keys = search()
    found = unscaled(keys)
    order = [int(np.abs(found - style).sum(1).argmin()) for style in STYLES]
    assert sorted(order) == [0, 1, 2]
    everything = np.concatenate(list(SITES.values()))
    for expert, style in zip(order, STYLES, strict=True):
        own = everything[np.abs(everything - style).sum(1) < 3]
        assert np.allclose(found[expert], own.mean(0), atol=1e-9)
        assert keys.share[expert] == len(own) / len(everything)


def test_any_order_of_the_sites_gives_the_same_bytes():
    one, other = search(), search(order=-1)
    assert all(value.tobytes() == other.arrays()[name].tobytes() for name, value in one.arrays().items())


def test_no_training_scan_is_farther_than_its_radius():
    keys = search()
    for values in SITES.values():
        squares = square_distances(
            (values - keys.mean) / keys.scale, np.ones(values.shape, bool), keys.keys, keys.known > 0
        )
        assert (np.sqrt(squares.min(1)) <= keys.radius[squares.argmin(1)] + 1e-9).all()


def test_an_unknown_figure_is_left_out_of_distances_and_means():
    values, known = {**SITES}, {site: np.ones(found.shape, bool) for site, found in SITES.items()}
    values["c"] = SITES["c"].copy()
    values["c"][:, 2], known["c"][:, 2] = 0, False  # a modality that c never acquires
    keys = search(values, known=known)
    assert sorted(np.round(unscaled(keys)[:, 2]).tolist()) == [5, 5, 5]


def test_an_expert_a_site_has_the_sites_mean_as_its_key():
    keys = search(by_site=True)
    for expert, site in enumerate(sorted(SITES)):
        assert np.allclose(unscaled(keys)[expert], SITES[site].mean(0), atol=1e-9)
        assert keys.share[expert] == pytest.approx(len(SITES[site]) / 27)


def test_too_many_experts_for_the_sites_is_a_sentence():
    with pytest.raises(InputError, match=r"3 sites train, but model\.experts is 2\. Set it to 3"):
        search(by_site=True, experts=2)


def test_fewer_styles_than_experts_is_a_sentence():
    same = {site: np.ones((4, FIGURES)) for site in "ab"}
    with pytest.raises(InputError, match=r"1 different styles, but model\.experts is 2"):
        search(same, experts=2)


def test_nobody_answering_is_a_sentence():
    with pytest.raises(InputError, match="No site with training scans"):
        KeySearch(2, False, FIGURES, 0).close()


def test_a_site_with_one_scan_takes_part():
    assert search({**SITES, "d": scans([1, 0, 0], 4)}).share.sum() == pytest.approx(1)


GOOD = answer({"ask": "sums"}, SITES["a"], np.ones(SITES["a"].shape, bool), 3, 0)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda given: None,
        lambda given: [1],
        lambda given: {},
        lambda given: given | {"more": np.zeros(1)},
        lambda given: given | {"sum": np.full(FIGURES, np.nan)},
        lambda given: given | {"sum": np.full(FIGURES, 1e30)},
        lambda given: given | {"sum": np.zeros(FIGURES + 1)},
        lambda given: given | {"sum": np.zeros(FIGURES, np.float32)},
        lambda given: given | {"sum": [0.0] * FIGURES},
        lambda given: given | {"scans": np.array(-1.0)},
        lambda given: given | {"scans": np.array(0.0)},
        lambda given: given | {"scans": np.array(1e8)},
        lambda given: given | {"known": np.full(FIGURES, -1.0)},
    ],
)
def test_what_is_no_answer_is_refused_and_changes_nothing(spoil):
    made = KeySearch(3, False, FIGURES, 0)
    with pytest.raises(Rejected):
        made.accept("a", spoil(dict(GOOD)))
    with pytest.raises(InputError, match="No site"):
        made.close()


def test_kmeans_weighs_its_points():
    points = Points(np.array([[0.0], [1.0], [10.0]]), np.ones((3, 1), bool), np.array([1.0, 3.0, 1.0]))
    centres, _ = kmeans(points, 2, seed=0)
    assert sorted(centres.ravel().tolist()) == [0.75, 10.0]


def test_points_that_share_no_figure_are_infinitely_far():
    none = square_distances(np.ones((1, 2)), np.array([[True, False]]), np.ones((1, 2)), np.array([[False, True]]))
    assert np.isinf(none).all()


def test_a_key_that_attracts_no_scan_is_a_sentence():
    """Site a reports one centre for its two scans, halfway between them, and nearer to none."""
    made = KeySearch(3, False, FIGURES, 0)
    sites = {"a": np.array([[0.0, 0, 0], [9, 9, 9]]), "b": np.zeros((2, FIGURES)), "c": np.full((2, FIGURES), 9.0)}
    with pytest.raises(InputError, match=r"1 of 3 keys attract no training scan: .* Lower model\.experts\."):
        while made.question is not None:
            for site, values in sites.items():
                made.accept(site, answer(made.question, values, np.ones(values.shape, bool), 1, 0))
            made.close()


def test_centres_and_their_counts_must_be_equally_many():
    made = KeySearch(2, False, FIGURES, 0)
    made.accept("a", GOOD)
    made.close()
    given = answer(made.question, SITES["a"], np.ones(SITES["a"].shape, bool), 3, 0)
    with pytest.raises(Rejected, match="must be equally many"):
        made.accept("a", given | {"scans": given["scans"][:1]})


def test_an_answer_to_no_question_is_refused():
    made = KeySearch(3, False, FIGURES, 0)
    while made.question is not None:
        for site, values in SITES.items():
            made.accept(site, answer(made.question, values, np.ones(values.shape, bool), 3, 0))
        made.close()
    with pytest.raises(Rejected, match="'late' answered when nothing was asked"):
        made.accept("late", GOOD)


def test_kmeans_ends_however_long_it_would_go_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kmeans_module, "_ITERATIONS", 1)
    points = Points(np.arange(6.0)[:, None], np.ones((6, 1), bool), np.ones(6))
    assert np.isfinite(kmeans(points, 2, seed=0)[0]).all()
