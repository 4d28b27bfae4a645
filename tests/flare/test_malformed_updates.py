# SPDX-License-Identifier: Apache-2.0
"""Twelve thousand malformed updates through the real ``accept``, and honest ones in any order and from many threads."""

from __future__ import annotations

import json
import logging
import math
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nvflare.apis.dxo import from_dict
from nvflare.apis.shareable import ReservedHeaderKey, Shareable

from federation.contributions import ROUND, as_bytes, honest, model
from federation.hostile import Hostile, HostileDict, HostileNumber, HostileText
from federation.rejections import REJECTIONS, meta, spoiled, tensor
from fedpac_me.federation.update import Contribution
from flare_server import Server, shareable_of

pytestmark = pytest.mark.slow
UPDATES = 3000
"""For each of the four ways to merge."""
WAYS: dict[str, dict[str, Any]] = {
    "by cases": {},
    "bounded influence": {"max_site_share": 0.4, "clip_norm_factor": 3.0, "clip_norm_first": 0.05},
    "median": {"robust": "median", "quorum": 3},
    "multi-Krum": {"robust": "multi_krum", "quorum": 5},
}
HONEST = [honest(f"site-{number}", number, 5 + 7 * number) for number in range(5)]
ODD: tuple[Callable[[np.random.Generator], Any], ...] = (
    *(lambda rng, value=value: value for value in (None, "", "\ud800", b"", 1j, object(), [], {}, math.nan, 10**400)),
    lambda rng: int(rng.integers(-(2**62), 2**62)),
    lambda rng: float(rng.normal() * 10.0 ** rng.integers(-300, 300)),
    lambda rng: Hostile(),
    lambda rng: HostileDict(),
    lambda rng: HostileText("x"),
    lambda rng: HostileNumber(3),
    lambda rng: [Hostile()] * int(rng.integers(0, 4)),
    lambda rng: np.zeros(tuple(rng.integers(0, 4, rng.integers(0, 4))), rng.choice(["f8", "i1", "c8", "O"])),
)


def odd(rng: np.random.Generator) -> Any:
    return ODD[rng.integers(len(ODD))](rng)


def with_odd_meta(sent: Contribution, rng: np.random.Generator) -> Contribution:
    """One of the facts that every update must state is something else."""
    return meta(**{str(rng.choice(["protocol", "signature", "cases", "steps", "expert_mass"])): odd(rng)})(sent)


def with_odd_tensor(sent: Contribution, rng: np.random.Generator) -> Contribution:
    return tensor(odd(rng), str(rng.choice([*model(), "unknown"])))(sent)


def with_odd_value(sent: Contribution, rng: np.random.Generator) -> Contribution:
    """NaN, infinite or too large, anywhere."""
    name = str(rng.choice(list(model())))
    values = np.array(sent.diff[name])
    bad = (math.nan, math.inf, -math.inf, 1025.0, -3e38)
    values.flat[rng.integers(values.size)] = bad[rng.integers(len(bad))]
    return replace(sent, diff={**sent.diff, name: values})


def with_odd_envelope(sent: Contribution, rng: np.random.Generator) -> Contribution:
    return replace(sent, **{str(rng.choice(["data_kind", "round", "diff", "meta"])): odd(rng)})


def with_known_fault(sent: Contribution, rng: np.random.Generator) -> Contribution:
    faults = [change for name, change, _ in REJECTIONS if name not in NOT_SENT]
    return faults[rng.integers(len(faults))](sent)


NOT_SENT = {"no contribution", "duplicate", *(name for name, _, _ in REJECTIONS if name.startswith("site "))}
"""What FLARE, which knows who sent what, cannot hand over."""
FAULTS = (with_odd_meta, with_odd_tensor, with_odd_value, with_odd_envelope, with_known_fault)


def malformed(rng: np.random.Generator) -> Shareable:
    """An honest update with one to three faults, sometimes in a broken message."""
    sent = FAULTS[rng.integers(len(FAULTS))](honest(cases=int(rng.integers(1, 100))), rng)
    for _ in range(rng.integers(0, 3)):
        with suppress(Exception):  # the first fault may have left nothing to spoil
            sent = FAULTS[rng.integers(len(FAULTS))](sent, rng)
    shareable = shareable_of(sent)
    if rng.random() < 0.05:
        shareable["DXO"] = odd(rng)
    if rng.random() < 0.05:
        shareable.set_header(ReservedHeaderKey.CONTENT_TYPE, odd(rng))
    if rng.random() < 0.02:
        shareable = Shareable()
    return shareable


@pytest.fixture
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def merged(folder: Path, way: str, deliver: Callable[[Server], None]) -> Mapping[str, np.ndarray]:
    server = Server(folder, ROUND, model(), **WAYS[way])
    deliver(server)
    return server.close()


def honest_alone(server: Server) -> None:
    assert all(server.accept(shareable_of(sent), sent.site) for sent in HONEST)


def test_what_the_messages_hold_is_what_flare_reads() -> None:
    dxo = from_dict(shareable_of(HONEST[0])["DXO"])
    assert (dxo.data_kind, dxo.data, dxo.meta) == ("WEIGHT_DIFF", HONEST[0].diff, HONEST[0].meta)


@pytest.mark.parametrize("way", WAYS)
def test_no_malformed_update_raises_or_leaves_a_byte(way: str, tmp_path: Path, quiet: None) -> None:
    expected = merged(tmp_path, way, honest_alone)
    rng = np.random.default_rng([len(way), 2026])
    turn_of = set(rng.choice(UPDATES, len(HONEST), replace=False).tolist())

    def deliver(server: Server) -> None:
        waiting = list(HONEST)
        for number in range(UPDATES):
            # From strangers, and from honest sites before and after their good update.
            site = f"site-{number % 8}"
            assert server.accept(malformed(rng), site) is False, number
            if number in turn_of:
                sent = waiting.pop()
                assert server.accept(shareable_of(sent), sent.site) is True

    result = merged(tmp_path, way, deliver)
    assert as_bytes(result) == as_bytes(expected)
    assert all(np.isfinite(value).all() for value in result.values())
    (entry,) = json.loads((tmp_path / "fedpac_me/ledger.json").read_text())["rounds"]
    assert len(entry["accepted"]) == len(HONEST)
    assert len(entry["rejected"]) + len(entry["abstained"]) >= UPDATES - 1
    assert all(line["reason"] and "\n" not in line["reason"] for line in entry["rejected"])


@pytest.mark.parametrize("way", WAYS)
def test_any_permutation_and_any_interleaving_of_threads_give_the_same_bytes(
    way: str, tmp_path: Path, quiet: None
) -> None:
    expected = as_bytes(merged(tmp_path, way, honest_alone))
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for seed in range(10):
            rng = np.random.default_rng(seed)
            mixed = [(sent.site, shareable_of(sent)) for sent in HONEST]
            mixed += [(f"stranger-{number}", shareable_of(spoiled(math.nan)(HONEST[0]))) for number in range(3)]
            order = [mixed[at] for at in rng.permutation(len(mixed))]

            def together(server: Server, order=order) -> None:
                gate = threading.Barrier(len(order))

                def deliver(site: str, shareable: Shareable) -> None:
                    gate.wait()
                    server.accept(shareable, site)

                threads = [threading.Thread(target=deliver, args=each) for each in order]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()

            def one_by_one(server: Server, order=order) -> None:
                for site, shareable in order:
                    server.accept(shareable, site)

            assert as_bytes(merged(tmp_path, way, together)) == expected
            assert as_bytes(merged(tmp_path, way, one_by_one)) == expected
    finally:
        sys.setswitchinterval(usual)
