# SPDX-License-Identifier: Apache-2.0
"""The ledger's JSON is read by the report: its shape is fixed here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedpac_me import storage
from fedpac_me.errors import InputError
from fedpac_me.federation.ledger import Accepted, Ledger, Refused, RoundRecord

RECORD = RoundRecord(
    round=0,
    outcome="merged",
    seconds=1.2,
    accepted=(Accepted("site-2", 8, 30, 4.5, 0.25), Accepted("site-1", 20, 30, 9.0, 0.5)),
    rejected=(Refused("site-4", "b"), Refused("site-4", "a"), Refused("site-3", "late")),
    abstained=("site-6", "site-5"),
    bytes_up=64,
    bytes_down=128,
    metrics={"site-2": {"train_loss": 0.5, "dice_mean": 0.75}, "site-1": {"train_loss": 0.25}},
)
EXPECTED = {
    "schema": 1,
    "signature": "abc",
    "rounds": [
        {
            "round": 0,
            "outcome": "merged",
            "seconds": 1.2,
            "accepted": [
                {"site": "site-1", "cases": 20, "steps": 30, "seconds": 9.0, "norm": 0.5},
                {"site": "site-2", "cases": 8, "steps": 30, "seconds": 4.5, "norm": 0.25},
            ],
            "rejected": [
                {"site": "site-3", "reason": "late"},
                {"site": "site-4", "reason": "a"},
                {"site": "site-4", "reason": "b"},
            ],
            "abstained": ["site-5", "site-6"],
            "bytes_up": 64,
            "bytes_down": 128,
            "metrics": {"site-1": {"train_loss": 0.25}, "site-2": {"dice_mean": 0.75, "train_loss": 0.5}},
        }
    ],
}


def ledger_of(*records: RoundRecord) -> Ledger:
    made = Ledger("abc")
    for record in records:
        made.add(record)
    return made


def test_exact_json() -> None:
    assert json.dumps(ledger_of(RECORD).to_json()) == json.dumps(EXPECTED)


def test_to_disk_and_back(tmp_path: Path) -> None:
    path = tmp_path / "run" / "ledger.json"
    ledger_of(RECORD).save(path)
    assert storage.read_json(path) == EXPECTED
    assert Ledger.from_json(storage.read_json(path)).to_json() == EXPECTED
    assert [entry.name for entry in path.parent.iterdir()] == ["ledger.json"]


def test_agreement_stands_with_the_experts_and_old_ledgers_have_none() -> None:
    accepted = (Accepted("site-1", 20, 30, 9.0, 0.5, (15.0, 5.0)),)
    new = ledger_of(RoundRecord(0, "merged", accepted=accepted, agreement=(0.25, None))).to_json()
    assert new["rounds"][0]["experts"] == {"mass": [15.0, 5.0], "dead": [], "agreement": [0.25, None]}
    assert "agreement" not in new["rounds"][0]
    assert Ledger.from_json(new).rounds[0].agreement == (0.25, None)
    old = ledger_of(RoundRecord(0, "merged", accepted=accepted)).to_json()
    assert old["rounds"][0]["experts"] == {"mass": [15.0, 5.0], "dead": []}
    assert Ledger.from_json(old).to_json() == old


def test_flags_are_written_where_there_are_some_and_read_back() -> None:
    odd = Accepted("site-2", 8, 30, 4.5, 0.25, flags=("weights 9 long, cut to the bound 3",))
    content = ledger_of(RoundRecord(0, "merged", accepted=(RECORD.accepted[1], odd))).to_json()
    assert [line.get("flags") for line in content["rounds"][0]["accepted"]] == [None, odd.flags]
    assert Ledger.from_json(json.loads(json.dumps(content))).rounds[0].accepted[1] == odd


def test_notes_are_written_where_there_are_some_and_read_back() -> None:
    noted = RoundRecord(0, "merged", notes=("Expert 0 was left unchanged.",))
    content = ledger_of(noted).to_json()
    assert content["rounds"][0]["notes"] == ["Expert 0 was left unchanged."]
    assert Ledger.from_json(json.loads(json.dumps(content))).rounds == (noted,)


def test_a_resumed_run_replaces_the_rounds_it_does_again() -> None:
    made = ledger_of(*(RoundRecord(number, "merged") for number in range(4)), RoundRecord(2, "no_quorum"))
    assert [(entry.round, entry.outcome) for entry in made.rounds] == [(0, "merged"), (1, "merged"), (2, "no_quorum")]


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {},
        EXPECTED | {"schema": 2},
        EXPECTED | {"rounds": 3},
        EXPECTED | {"rounds": [None]},
        EXPECTED | {"rounds": [EXPECTED["rounds"][0] | {"outcome": "won"}]},  # type: ignore[index]
        EXPECTED | {"rounds": [EXPECTED["rounds"][0] | {"more": 1}]},  # type: ignore[index]
        EXPECTED | {"rounds": [EXPECTED["rounds"][0] | {"agreement": []}]},  # type: ignore[index]
        EXPECTED | {"rounds": [EXPECTED["rounds"][0] | {"experts": 3}]},  # type: ignore[index]
        EXPECTED | {"rounds": [EXPECTED["rounds"][0] | {"experts": {"agreement": ["x"]}}]},  # type: ignore[index]
        EXPECTED | {"rounds": [EXPECTED["rounds"][0] | {"accepted": [{"site": "x"}]}]},  # type: ignore[index]
        {"schema": 1, "rounds": []},
    ],
)
def test_damaged_ledgers(content: object) -> None:
    with pytest.raises(InputError, match="ledger"):
        Ledger.from_json(content)


@pytest.mark.parametrize(
    ("masses", "entropy"), [(((4.0, 4.0),), 1.0), (((8.0, 0.0),), 0.0), (((3.0,),), 0.0), ((None,), 0.0)]
)
def test_how_evenly_experts_are_used(masses: tuple, entropy: float) -> None:
    lines = tuple(Accepted(f"site-{number}", 8, 1, 0.0, 0.0, mass) for number, mass in enumerate(masses))
    record = RoundRecord(0, "merged", accepted=lines)
    assert record.routing_entropy == pytest.approx(entropy)
    three = Accepted("site-9", 8, 1, 0.0, 0.0, (6.0, 2.0))
    assert RoundRecord(0, "merged", accepted=(three,)).routing_entropy == pytest.approx(0.811278, rel=1e-5)


def test_the_sites_are_all_that_were_heard_of_and_not_the_server() -> None:
    ledger = Ledger()
    ledger.add(RoundRecord(0, "merged", accepted=(Accepted("a", 1, 1, 1.0, 1.0),), abstained=("b",)))
    ledger.add(RoundRecord(1, "no_quorum", rejected=(Refused("c", "x"), Refused("(server)", "y"))))
    assert ledger.sites == {"a", "b", "c"}
    assert Ledger().sites == set()
