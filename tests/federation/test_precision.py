# SPDX-License-Identifier: Apache-2.0
"""What travels as float16, what must not, and that rounding takes nothing away for good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fedpac_me.errors import InputError
from fedpac_me.federation.config import FederationConfig
from fedpac_me.federation.fixed_point import MAX_ABS
from fedpac_me.federation.precision import FLOAT16, FLOAT32, as_sent, sent_and_kept, widened
from fedpac_me.federation.schema import Schema
from fedpac_me.federation.server_round import RoundServer
from fedpac_me.federation.update import check

from .contributions import ROUND, abstaining, as_bytes, diff_of, honest, model

Make = Callable[..., RoundServer]
EXACT = ("norm.running_mean", "norm.running_var", "conv.weight_control", "router.keys", "router.radius")
ODD = np.float32(1 + 2**-12)
"""Nearest float16: 1. A float16 between 1 and 2 is off by 2⁻¹¹ at most."""


def values(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float32)


def test_float32_is_what_it_was() -> None:
    diff = diff_of(1)
    sent, kept = sent_and_kept(diff, {}, FLOAT32)
    assert all(sent[name] is diff[name] for name in diff) and not kept
    assert as_bytes(as_sent(diff, FLOAT32)) == as_bytes(diff)


def test_float16_is_half_the_bytes_and_comes_back_rounded() -> None:
    diff = diff_of(1)
    sent = as_sent(diff, FLOAT16)
    assert sum(value.nbytes for value in sent.values()) * 2 == sum(value.nbytes for value in diff.values())
    for name, value in widened(sent).items():
        assert value.dtype == np.float32 and value.shape == diff[name].shape
        assert np.abs(value - diff[name]).max() <= 2**-11 * np.abs(diff[name]).max()


def test_the_shape_of_one_number_stays() -> None:
    sent, kept = sent_and_kept({"scale": np.array(ODD)}, {"scale": np.array(ODD)}, FLOAT16)
    assert type(sent["scale"]) is type(kept["scale"]) is np.ndarray
    assert sent["scale"].shape == kept["scale"].shape == ()


@pytest.mark.parametrize("name", EXACT)
def test_statistics_and_the_router_are_not_rounded(name: str) -> None:
    sent, kept = sent_and_kept({name: values(ODD)}, {}, FLOAT16)
    assert sent[name].dtype == np.float32 and sent[name] == ODD and not kept


@pytest.mark.parametrize("number", [65520.0, -1e30, np.inf, np.nan], ids=str)
def test_what_float16_cannot_hold_goes_as_it_is_and_the_server_judges_it(number: float) -> None:
    diff = {name: np.full_like(value, number) for name, value in model().items()}
    sent, kept = sent_and_kept(diff, {}, FLOAT16)
    assert as_bytes(sent) == as_bytes(diff) and not kept
    verdict = check(Schema.learn(model()), replace(honest(), diff=sent), ROUND, ())
    assert not verdict.ok and ("non_finite" in verdict.reason or f"±{MAX_ABS:g}" in verdict.reason)


def test_all_that_was_sent_is_all_that_was_learned_but_one_rounding() -> None:
    generator = np.random.default_rng(0)
    learned, arrived, plain = np.zeros(1000), np.zeros(1000), np.zeros(1000)
    kept: dict[str, np.ndarray] = {}
    for _ in range(50):
        diff = {"w": generator.uniform(1, 1.5, 1000).astype(np.float32)}
        sent, kept = sent_and_kept(diff, kept, FLOAT16)
        learned += diff["w"]
        arrived += sent["w"]
        plain += as_sent(diff, FLOAT16)["w"]
    # Below 2 a rounding is 2⁻¹¹ at most; adding what was kept rounds in float32, 50 times.
    assert np.abs(arrived - learned).max() <= 2**-11 + 50 * 2**-24
    assert np.abs(plain - learned).max() > 2 * 2**-11


def test_what_an_expert_is_owed_waits_until_it_is_used_again() -> None:
    _, kept = sent_and_kept({"a.experts.0.w": values(ODD), "b": values(ODD)}, {}, FLOAT16)
    sent, later = sent_and_kept({"b": values(0)}, kept, FLOAT16)
    assert "a.experts.0.w" not in sent and later["a.experts.0.w"] is kept["a.experts.0.w"]
    assert sent["b"] == np.float16(2**-12) and not later["b"].any()


def test_the_server_takes_it_and_adds_what_arrived(server: Make) -> None:
    made, wide = server(), server()
    for seed, site in ((1, "site-1"), (2, "site-2")):
        sent = as_sent(diff_of(seed), FLOAT16)
        assert made.accept(replace(honest(site, seed), diff=sent)).ok
        assert wide.accept(replace(honest(site, seed), diff=widened(sent))).ok
    half, full = made.close(), wide.close()
    assert as_bytes(half.diff) == as_bytes(full.diff)
    assert half.record.bytes_up * 2 == full.record.bytes_up


@pytest.mark.parametrize(("download", "size"), [(FLOAT32, 4), (FLOAT16, 2)])
def test_the_ledger_counts_what_goes_out(server: Make, download: str, size: int) -> None:
    made = server(download=download)
    made.accept(honest())
    made.accept(abstaining("site-2"))
    assert made.close().record.bytes_down == 2 * 14 * size


def test_a_format_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match=r"'download' must be one of float32, float16, got 'int8'"):
        RoundServer(download="int8")


def test_a_section_says_only_what_is_not_float32() -> None:
    spelled_out = FederationConfig(upload=FLOAT32, download=FLOAT32).model_dump()
    assert spelled_out == FederationConfig().model_dump() and not {"upload", "download"} & spelled_out.keys()
    half = FederationConfig(upload=FLOAT16, download=FLOAT16)
    assert FederationConfig(**half.model_dump()) == half != FederationConfig()
