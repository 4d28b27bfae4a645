# SPDX-License-Identifier: Apache-2.0
"""Federations whose messages are rounded: fewer bytes, the same through new processes, nothing lost on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_federation import TRAINING, as_bytes, config, farthest, rebuilt_federation, write_hospitals

from fedpac_me.config import parse_config
from fedpac_me.data.site import folder_settings
from fedpac_me.engine import Outcome, first_weights, run_federation
from fedpac_me.errors import InputError
from fedpac_me.federation.precision import as_sent, widened
from fedpac_me.learning.site import Site
from fedpac_me.learning.site_state import SiteState

pytestmark = pytest.mark.slow  # whole federations

ROUNDS = {"rounds": 3}
HALF = config(federation={**ROUNDS, "upload": "float16", "download": "float16"})
PLAIN = config(federation=ROUNDS)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_hospitals(tmp_path_factory.mktemp("hospitals"))


@pytest.fixture(scope="module")
def half(data, tmp_path_factory) -> tuple[Outcome, Path]:
    folder = tmp_path_factory.mktemp("half")
    return run_federation(HALF, data, folder, lambda line: None), folder


@pytest.fixture(scope="module")
def plain(data, tmp_path_factory) -> tuple[Outcome, Path]:
    folder = tmp_path_factory.mktemp("plain")
    return run_federation(PLAIN, data, folder, lambda line: None), folder


def kept(folder: Path, site: str) -> dict[str, torch.Tensor]:
    return SiteState.load(folder / site, torch.device("cpu")).unsent


def test_bytes_are_halved_in_both_directions_and_the_server_keeps_float32(half, plain):
    for ours, theirs in zip(half[0].ledger.rounds, plain[0].ledger.rounds, strict=True):
        assert ours.bytes_up * 2 == theirs.bytes_up > 0
        assert ours.bytes_down * 2 == theirs.bytes_down > 0
    assert all(value.dtype == np.float32 for value in half[0].weights.values())
    assert farthest(half[0].weights, plain[0].weights) > 0


def test_a_first_update_is_the_plain_one_rounded(data, tmp_path):
    path = data / TRAINING[0]
    rounds = config(federation={**ROUNDS, "upload": "float16"}), PLAIN
    sites = [Site(path.name, made, folder_settings(path), tmp_path / made.hash) for made in rounds]
    sent, learned = (site.train(first_weights(PLAIN, []), 0).diff for site in sites)
    assert as_bytes(sent) == as_bytes(as_sent(learned, "float16")) != as_bytes(learned)


def test_sites_that_are_rebuilt_every_round_give_the_same_bytes(half, data, tmp_path):
    assert as_bytes(rebuilt_federation(HALF, data, tmp_path)) == as_bytes(half[0].weights)


def test_a_site_keeps_what_rounding_took_and_nothing_where_nothing_is_rounded(half, plain):
    for site in TRAINING:
        taken = kept(half[1], site)
        assert taken.keys() == half[0].weights.keys()
        assert 0 < max(float(value.abs().max()) for value in taken.values()) < 1e-4
        assert kept(plain[1], site) == {}


def test_what_was_kept_changes_the_next_update(half, data):
    """A round again, from a state whose memory is gone: another answer, so the memory was used."""
    outcome, folder = half
    path = data / TRAINING[0]
    weights = as_sent(outcome.weights, "float16")
    site = Site(path.name, HALF, folder_settings(path), folder / path.name)
    first = as_bytes(site.train(weights, 3).diff)
    assert as_bytes(site.train(weights, 3).diff) == first
    state = SiteState.load(folder / path.name, torch.device("cpu"), before=3)
    state.unsent = {}
    state.save(folder / path.name, 2)
    assert as_bytes(site.train(weights, 3).diff) != first


def test_a_site_trains_from_the_model_that_it_received(data, tmp_path):
    path = data / TRAINING[0]
    config_ = config(federation={**ROUNDS, "download": "float16"})
    site = Site(path.name, config_, folder_settings(path), tmp_path)
    sent = as_sent(first_weights(config_, [site]), "float16")
    update = site.train(sent, 0)
    assert {value.dtype for value in sent.values()} == {np.dtype(np.float16)}
    assert as_bytes(update.diff) == as_bytes(site.train(widened(sent), 0).diff)
    assert update.meta["signature"] == site.train(widened(sent), 0).meta["signature"]


def test_the_usual_formats_are_not_in_a_resolved_config_whose_hash_stays():
    spelled_out = config(federation={**ROUNDS, "upload": "float32", "download": "float32"})
    assert not {"upload", "download"} & PLAIN.to_dict()["federation"].keys()
    assert spelled_out.hash == PLAIN.hash != HALF.hash
    assert parse_config(HALF.to_dict()) == HALF


def test_an_unknown_format_is_refused_with_a_sentence():
    with pytest.raises(InputError, match=r"'federation\.upload' is 'int8'"):
        config(federation={"upload": "int8"})
