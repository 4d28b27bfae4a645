# SPDX-License-Identifier: Apache-2.0
"""Faults of one update, row by row, through the real ``accept``; FLARE's own aggregator beside it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from federation.contributions import ROUND, as_bytes, honest, model
from federation.rejections import Change
from fedpac_me.federation.update import Contribution
from flare_server import Server, shareable_of
from stock_aggregator import outcome
from update_faults import ACCEPTED, REFUSED, times

HONEST = [honest("site-1", 1), honest("site-2", 2)]
ROWS = [(row, *fault) for row, faults in REFUSED.items() for fault in faults]


def opened(folder: Path, *sent: Contribution, **options) -> Server:
    server = Server(folder, ROUND, model(), **options)
    assert all(server.accept(shareable_of(contribution), contribution.site) for contribution in sent)
    return server


def ledger(folder: Path) -> dict:
    return json.loads((folder / "fedpac_me/ledger.json").read_text())["rounds"][-1]


@pytest.mark.parametrize(("row", "name", "change", "words"), ROWS, ids=[f"{row} {name}" for row, name, *_ in ROWS])
def test_refused_with_a_sentence_and_without_a_trace(
    tmp_path: Path, row: int, name: str, change: Change, words: str
) -> None:
    bad = change(honest("site-3", 3))
    server = opened(tmp_path, HONEST[0])
    assert server.accept(shareable_of(bad), bad.site) is False
    assert server.accept(shareable_of(HONEST[1]), "site-2")
    assert as_bytes(server.close()) == as_bytes(opened(tmp_path / "alone", *HONEST).close())
    (line,) = ledger(tmp_path)["rejected"]
    assert line["site"] == bad.site and words in line["reason"]


@pytest.mark.parametrize("dtype", ["f2", "f4"])
def test_float16_is_widened_before_it_is_summed(tmp_path: Path, dtype: str) -> None:
    """Four times 60 000 would be infinite in float16; the bound of weights is 1024, that of statistics is not."""
    weights = {"n.running_mean": np.zeros(2, np.float32), "n.running_var": np.ones(2, np.float32)}
    server = Server(tmp_path, 0, weights)
    for number in range(4):
        diff = {name: np.full(2, 60000, dtype) for name in weights}
        facts = {"protocol": 1, "signature": server.aggregator._server.signature, "cases": 10, "steps": 1}
        assert server.accept(shareable_of(Contribution(f"s{number}", "WEIGHT_DIFF", 0, diff, facts)), f"s{number}")
    assert server.close()["n.running_mean"].tolist() == [60000, 60000]


def test_integer_buffers_are_no_part_of_a_model(tmp_path: Path) -> None:
    server = Server(tmp_path, ROUND, {**model(), "steps": np.zeros(1, np.int64)})
    assert not server.accept(shareable_of(HONEST[0]), "site-1")
    server.close()
    assert "integer buffers such as step counters cannot be averaged" in ledger(tmp_path)["rejected"][0]["reason"]


def test_a_site_that_states_all_cases_gets_its_share(tmp_path: Path) -> None:
    greedy = replace(honest("site-3", 3, cases=16384), diff=times(0.0)(honest()).diff)
    kept = opened(tmp_path, *HONEST, greedy, max_site_share=0.5).close()
    plain = opened(tmp_path / "plain", *HONEST, greedy).close()
    alone = opened(tmp_path / "alone", *HONEST).close()
    assert np.allclose(kept["trunk.weight"], alone["trunk.weight"] / 2, atol=1e-7)
    assert np.abs(plain["trunk.weight"]).max() < np.abs(alone["trunk.weight"]).max() / 100
    assert ledger(tmp_path)["accepted"][2]["flags"] == ["counted as 20 of its 16384 cases"]


def test_an_update_that_is_too_long_is_cut_and_flagged(tmp_path: Path) -> None:
    (_, change), *_ = ACCEPTED[16]
    server = opened(tmp_path, *HONEST, clip_norm_factor=3.0)
    server.close()
    server.number += 1
    sent = [replace(update, round=ROUND + 1) for update in (*HONEST, change(honest("site-3", 3)))]
    assert all(server.accept(shareable_of(update), update.site) for update in sent)
    moved = server.close()
    assert "cut to the bound" in ledger(tmp_path)["accepted"][2]["flags"][0]
    assert max(np.abs(value).max() for value in moved.values()) < 0.1


@pytest.mark.parametrize("rule", ["median", "trimmed_mean", "geometric_median", "multi_krum"])
def test_a_robust_merge_withstands_a_flipped_sign(tmp_path: Path, rule: str) -> None:
    """Four sites that agree but for some noise, and a fifth that sends the opposite."""
    agreed = honest("site-9", 9).diff
    sites = [
        replace(sent, diff={name: (agreed[name] + 0.1 * value).astype(np.float32) for name, value in sent.diff.items()})
        for sent in (honest(f"site-{number}", number) for number in range(4))
    ]
    hostile = times(-1.0)(honest("site-9", 9))
    merged = opened(tmp_path, *sites, hostile, robust=rule, quorum=5).close()
    assert all(np.abs(merged[name] - agreed[name]).max() < 0.02 for name in agreed)


def test_a_site_with_an_unusual_name_takes_part(tmp_path: Path) -> None:
    name = "Universitätsklinik Köln · 医院"
    server = opened(tmp_path, honest(name, 1), HONEST[1])
    server.close()
    assert [line["site"] for line in ledger(tmp_path)["accepted"]] == [name, "site-2"]
    unprintable = opened(tmp_path / "odd")
    assert not unprintable.accept(shareable_of(HONEST[0]), "a\nb")
    long = honest("site-3", metrics={"x" * 65: 0.5})
    assert not unprintable.accept(shareable_of(long), "site-3")
    unprintable.close()
    reasons = [line["reason"] for line in ledger(tmp_path / "odd")["rejected"]]
    assert "A site's name must be a string of 1 to 256 printable letters" in reasons[0]
    assert "A metric's name must be a string of 64 letters at most" in reasons[1]


def test_flares_own_aggregator_lets_most_of_them_in() -> None:
    """The comparison that the scorecard shows is of two things that were tried."""
    tried = {name: outcome(change(honest("site-3", 3))) for _, name, change, _ in ROWS}
    assert tried["NaN"] == "accepted, the model holds NaN or infinity"
    assert tried["stale round"] == "rejected, leaves no trace"
    assert sum(not said.endswith("leaves no trace") for said in tried.values()) > len(tried) / 2
