# SPDX-License-Identifier: Apache-2.0
"""Rounded messages through FLARE's simulator: bytes that TCP carried, and the bytes of the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation_cost.data import tiny_sites
from federation_cost.environments import Finished, run_simulator
from federation_cost.job import PROBED, write_job
from federation_cost.probe import ledger_bytes, wire_bytes
from fedpac_me.config import parse_config
from fedpac_me.engine import run_federation
from fedpac_me.model.checkpoint import find_checkpoint, read_checkpoint

SITES = 2
MOST = 0.55
"""Of the bytes of float32."""
PLAIN = {
    "data": {"crop": 16},
    "learning": {"steps_per_round": 1, "batch": 1},
    "federation": {"rounds": 3},
    "evaluation": {"validation_every": 9},
}
HALF = PLAIN | {"federation": {"rounds": 3, "upload": "float16", "download": "float16"}}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny_sites(tmp_path_factory.mktemp("tiny"), SITES)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> dict[str, Finished]:
    """The project's own executor, and its aggregator, which also counts."""
    folder = tmp_path_factory.mktemp("float16")
    return {
        name: run_simulator(
            write_job(folder, name, content, executor=None, aggregator=PROBED), folder, data, SITES, SITES
        )
        for name, content in (("plain", PLAIN), ("half", HALF))
    }


def test_the_wire_carries_little_more_than_half_of_the_bytes(finished):
    for half, plain in zip(wire_bytes(finished["half"]), wire_bytes(finished["plain"]), strict=True):
        assert 0 < half <= MOST * plain


def test_the_ledger_says_what_the_wire_carried_of_arrays(finished):
    for arrays, wire in zip(ledger_bytes(finished["half"]), wire_bytes(finished["half"]), strict=True):
        assert arrays < wire < 1.2 * arrays


def test_the_simulator_and_one_process_give_the_same_bytes(finished, data, tmp_path):
    config = parse_config({"method": "half", "title": "Rounded messages", **HALF})
    ours = run_federation(config, data, tmp_path, lambda line: None).weights
    flares = read_checkpoint(find_checkpoint(finished["half"].server))
    assert ours.keys() == flares.keys()
    assert [name for name in ours if ours[name].tobytes() != flares[name].tobytes()] == []
