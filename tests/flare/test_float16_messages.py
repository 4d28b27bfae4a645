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
from fedpac_me.engine import Outcome, run_federation
from fedpac_me.federation.update import array_bytes
from fedpac_me.model.checkpoint import find_checkpoint, read_checkpoint

SITES = 2
MOST = 0.55
"""Of the bytes of float32."""
HALF = {
    "data": {"crop": 16},
    "learning": {"steps_per_round": 1, "batch": 1},
    "federation": {"rounds": 3, "upload": "float16", "download": "float16"},
    "evaluation": {"validation_every": 9},
}
"""FedAvg with the network of every preset, 0.4 M parameters."""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tiny_sites(tmp_path_factory.mktemp("tiny"), SITES)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> Finished:
    """The project's own executor, and its aggregator, which also counts."""
    folder = tmp_path_factory.mktemp("float16")
    job = write_job(folder, "half", HALF, executor=None, aggregator=PROBED)
    return run_simulator(job, folder, data, SITES, processes=SITES)


@pytest.fixture(scope="module")
def ours(data, tmp_path_factory) -> Outcome:
    config = parse_config({"method": "half", "title": "Rounded messages", **HALF})
    return run_federation(config, data, tmp_path_factory.mktemp("engine"), lambda line: None)


def test_the_wire_carries_little_more_than_half_of_what_float32_has_in_its_arrays_alone(finished, ours):
    whole = array_bytes(ours.weights)
    arrays, wire = ledger_bytes(finished), wire_bytes(finished)
    assert arrays == (whole / 2, whole / 2)
    for counted, carried in zip(arrays, wire, strict=True):
        assert counted < carried <= MOST * whole


def test_the_simulator_and_one_process_give_the_same_bytes(finished, ours):
    flares = read_checkpoint(find_checkpoint(finished.server))
    assert ours.weights.keys() == flares.keys()
    assert [name for name in flares if ours.weights[name].tobytes() != flares[name].tobytes()] == []
