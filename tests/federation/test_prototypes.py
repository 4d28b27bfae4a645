# SPDX-License-Identifier: Apache-2.0
"""The server's prototypes over the rounds, with the answers worked out by hand."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest

from fedpac_me.errors import InputError
from fedpac_me.federation.prototypes import Prototypes, RegionSums
from fedpac_me.federation.rejection import Rejected


def sums(*vectors: tuple[float, ...], count: float = 2) -> RegionSums:
    """Sums of one expert: the vector of each region, or of the brain alone."""
    full = np.zeros((1, 4, len(vectors[0])))
    full[0, : len(vectors)] = vectors
    return RegionSums(full, (np.any(full != 0, axis=2) * count).astype(np.int64))


def told(server: Prototypes) -> dict[tuple[int, str], list[float]]:
    return {(entry["expert"], entry["region"]): entry["vector"] for entry in server.to_meta()["entries"]}


# The merge


def test_sites_weigh_by_their_counts() -> None:
    server = Prototypes(minimum_count=4, decay=0.5)
    server.gather("a", sums((3.0, 0.0), count=3))
    server.gather("b", sums((0.0, 1.0), count=1))
    server.close()
    assert told(server)[0, "brain"] == pytest.approx([3 / math.sqrt(10), 1 / math.sqrt(10)])


def test_rounds_are_averaged_exponentially() -> None:
    server = Prototypes(minimum_count=0, decay=0.5)
    for vector in ((2.0, 0.0), (0.0, 2.0), (0.0, 2.0)):
        server.gather("a", sums(vector))
        server.close()
    # (2, 0) → (1, 2) → (0.5, 3)
    assert told(server)[0, "brain"] == pytest.approx([0.5 / math.sqrt(9.25), 3 / math.sqrt(9.25)])
    assert server.state()["counts"][0].tolist() == [3.5, 0, 0, 0]


def test_with_as_many_every_round_the_old_ones_have_the_share_decay() -> None:
    server = Prototypes(minimum_count=0, decay=0.25)
    for _ in range(40):
        server.gather("a", sums((1.0, 0.0), count=1))
        server.close()
    # Of the 4/3 behind the prototype 1 is new.
    assert server.state()["counts"][0, 0] == pytest.approx(1 / (1 - 0.25))


def test_a_prototype_needs_enough_vectors_and_fades() -> None:
    server = Prototypes(minimum_count=4, decay=0.5)
    server.gather("a", sums((3.0, 0.0), (0.0, 3.0), count=3))
    server.close()
    assert told(server) == {}
    server.gather("a", sums((3.0, 0.0), (0.0, 3.0), count=3))
    server.close()
    assert set(told(server)) == {(0, "brain"), (0, "oedema")}  # 4.5
    server.gather("a", sums((3.0, 0.0), count=3))
    server.close()
    assert set(told(server)) == {(0, "brain")}  # oedema is down to 2.25


def test_vectors_that_cancel_have_no_direction() -> None:
    server = Prototypes(minimum_count=0, decay=0.5)
    server.gather("a", sums((2.0, 0.0)))
    server.gather("b", sums((-2.0, 0.0)))
    server.close()
    assert server.to_meta() == {"dimension": 2, "entries": []}


def test_any_order_of_arrival_gives_the_same_bytes() -> None:
    rng = np.random.default_rng(0)
    rounds = []
    for _ in range(2):
        given = {f"site-{n}": rng.normal(size=(2, 4, 5)) * 10.0 ** rng.integers(-8, 8) for n in range(4)}
        rounds.append({site: RegionSums(value, np.full((2, 4), 9, np.int64)) for site, value in given.items()})
    found = set()
    for order in itertools.permutations(rounds[0]):
        server = Prototypes(minimum_count=1, decay=0.3)
        for given in rounds:
            for site in order:
                server.gather(site, given[site])
            server.close()
        found.add((server.state()["sums"].tobytes(), json.dumps(server.to_meta()), server.drift))
    assert len(found) == 1


def test_drift_is_the_mean_cosine_distance_of_what_was_there_before() -> None:
    server = Prototypes(minimum_count=1, decay=0)
    assert server.drift is None
    drifts = []
    for vectors in (((1.0, 0.0), (1.0, 0.0)), ((0.0, 1.0), (3.0, 4.0), (1.0, 0.0)), ((0.0, 1.0),)):
        server.gather("a", sums(*vectors, count=5))
        server.close()
        drifts.append(server.drift)
    # Brain turns by 90°, oedema from (1, 0) to (0.6, 0.8), necrosis is new; then brain alone stays as it is.
    assert drifts == [None, pytest.approx((1 + 0.4) / 2), pytest.approx(0)]


def test_a_round_without_sums_and_a_discarded_one_change_nothing() -> None:
    server = Prototypes(minimum_count=1, decay=0.5)
    assert server.to_meta() is None
    server.gather("a", sums((2.0, 0.0)))
    server.close()
    before = server.state()["sums"].tobytes()
    server.close()
    server.gather("a", sums((0.0, 2.0)))
    server.discard()
    server.close()
    assert server.state()["sums"].tobytes() == before and server.drift is None


def test_a_site_speaks_once_and_like_the_others() -> None:
    server = Prototypes(minimum_count=1, decay=0.5)
    server.gather("a", sums((2.0, 0.0)))
    with pytest.raises(Rejected, match="'a' have already been heard"):
        server.gather("a", sums((2.0, 0.0)))
    with pytest.raises(Rejected, match="of 1 experts with 2 numbers, as those of the other sites, got 1 with 3"):
        server.gather("b", sums((2.0, 0.0, 0.0)))


@pytest.mark.parametrize(
    ("minimum_count", "decay"),
    [(-1, 0.5), (math.nan, 0.5), ("4", 0.5), (True, 0.5), (4, 1), (4, -0.1), (4, None), (4, math.inf)],
)
def test_impossible_settings(minimum_count: Any, decay: Any) -> None:
    with pytest.raises(InputError, match="The prototypes' "):
        Prototypes(minimum_count, decay)


# Checkpoints


def test_resuming_continues_to_the_byte() -> None:
    steps = [sums(*np.random.default_rng(seed).normal(size=(4, 3)).tolist(), count=9) for seed in range(4)]
    whole_run, first, second = (Prototypes(1, 0.6) for _ in range(3))
    expected = []
    for step in steps:
        whole_run.gather("a", step)
        whole_run.close()
        expected.append((json.dumps(whole_run.to_meta()), whole_run.drift))
    for step in steps[:2]:
        first.gather("a", step)
        first.close()
    second.load_state(first.state())
    first.gather("a", steps[0])
    first.close()  # the copy must not see it
    resumed = []
    for step in steps[2:]:
        second.gather("a", step)
        second.close()
        resumed.append((json.dumps(second.to_meta()), second.drift))
    assert resumed == expected[2:]


def test_an_empty_state_can_be_loaded() -> None:
    server = Prototypes(1, 0.5)
    server.load_state(Prototypes(1, 0.5).state())
    assert server.to_meta() is None


@pytest.mark.parametrize(
    "change",
    [
        {"sums": np.zeros((1, 4, 3), np.float32)},
        {"sums": np.full((1, 4, 3), np.nan)},
        {"sums": np.zeros((1, 3, 3))},
        {"sums": np.zeros((1, 4))},
        {"sums": [0.0]},
        {"sums": None},
        {"counts": np.zeros((2, 4))},
        {"counts": np.full((1, 4), -1.0)},
        {"counts": np.full((1, 4), np.inf)},
        {"counts": None},
    ],
)
def test_a_damaged_state_is_refused(change: dict[str, Any]) -> None:
    server = Prototypes(1, 0.5)
    with pytest.raises(InputError, match="are not finite float64 sums and counts"):
        server.load_state({"sums": np.zeros((1, 4, 3)), "counts": np.zeros((1, 4)), **change})
    assert server.to_meta() is None


def test_sums_of_an_older_checkpoint_give_way() -> None:
    server = Prototypes(1, 0.5)
    server.load_state({"sums": np.ones((1, 4, 7)), "counts": np.full((1, 4), 9.0)})
    server.gather("a", sums((0.0, 2.0)))
    server.close()
    assert told(server) == {(0, "brain"): [0.0, 1.0]} and server.drift is None
