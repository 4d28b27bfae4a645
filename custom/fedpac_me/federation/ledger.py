# SPDX-License-Identifier: Apache-2.0
"""The ledger: what happened in every round, as JSON of builtins.

Lists of sites are sorted by name, so the order of arrival leaves no trace.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from fedpac_me import storage
from fedpac_me.errors import InputError

SCHEMA = 1
MERGED, NO_QUORUM, HELD = "merged", "no_quorum", "held"
SERVER = "(server)"
"""In place of a site's name where the server itself is at fault."""
OUTCOMES = (MERGED, NO_QUORUM, HELD)


@dataclass(frozen=True)
class Accepted:
    """A site whose update was accepted.

    ``norm`` is the L2 norm of its update as it arrived, ``expert_mass`` its cases by expert, ``flags`` what is odd
    about the update and what was done about it.
    """

    site: str
    cases: int
    steps: int
    seconds: float
    norm: float
    expert_mass: tuple[float, ...] | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """A site whose answer was rejected, or an error, and why."""

    site: str
    reason: str


@dataclass(frozen=True)
class RoundRecord:
    """One round. ``bytes_up`` and ``bytes_down`` are the arrays' payload, not what compression and TLS make of it.

    ``agreement``: for each expert the mean cosine between the sites' updates of it, ``None`` where fewer than two sites
    moved it; empty in ledgers older than this figure. ``notes``: what the merge left as it was, and why.
    """

    round: int
    outcome: str
    seconds: float = 0.0
    accepted: tuple[Accepted, ...] = ()
    rejected: tuple[Refused, ...] = ()
    abstained: tuple[str, ...] = ()
    bytes_up: int = 0
    bytes_down: int = 0
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    agreement: tuple[float | None, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def expert_mass(self) -> list[float]:
        """Cases by expert over all accepted sites; empty where the model has no experts."""
        masses = [line.expert_mass for line in self.accepted if line.expert_mass is not None]
        return [math.fsum(column) for column in zip(*masses, strict=True)]

    @property
    def dead_experts(self) -> list[int]:
        """Experts that no accepted site used."""
        return [expert for expert, mass in enumerate(self.expert_mass) if mass == 0]

    @property
    def routing_entropy(self) -> float:
        """How evenly the experts are used: entropy of the mass over that of an even one, 0 to 1."""
        mass = self.expert_mass
        shares = [value / math.fsum(mass) for value in mass if value > 0]
        return -math.fsum(share * math.log(share) for share in shares) / math.log(len(mass)) if len(mass) > 1 else 0.0

    def to_json(self) -> dict[str, Any]:
        """This round as builtins, everything sorted."""
        content = asdict(self)
        agreement, notes = list(content.pop("agreement")), list(content.pop("notes"))
        content["accepted"] = sorted(content["accepted"], key=lambda line: line["site"])
        content["rejected"] = sorted(content["rejected"], key=lambda line: (line["site"], line["reason"]))
        content["abstained"] = sorted(self.abstained)
        if self.expert_mass:
            content["experts"] = {"mass": self.expert_mass, "dead": self.dead_experts}
            content["experts"] |= {"agreement": agreement} if agreement else {}
        has_experts = bool(self.expert_mass)
        content["accepted"] = [_without_what_is_absent(line, has_experts) for line in content["accepted"]]
        content["metrics"] = {site: dict(sorted(self.metrics[site].items())) for site in sorted(self.metrics)}
        return content | ({"notes": notes} if notes else {})

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> RoundRecord:
        """The inverse of ``to_json``.

        Raises:
            TypeError, KeyError, ValueError, AttributeError: the content is anything else.
        """
        # The agreement stands with the experts, and notes only where there are some.
        known = {entry.name for entry in fields(cls)} - {"agreement", "notes"}
        agreement, notes = content.get("experts", {}).get("agreement", ()), content.get("notes", ())
        content = {name: value for name, value in content.items() if name not in ("experts", "notes")}
        if set(content) != known or content["outcome"] not in OUTCOMES or type(content["round"]) is not int:
            raise ValueError(f"a round must have exactly the fields {sorted(known)} and an outcome of {OUTCOMES}")
        read = dict(content)
        read["accepted"] = tuple(_accepted(line) for line in content["accepted"])
        read["rejected"] = tuple(Refused(**line) for line in content["rejected"])
        read["abstained"] = tuple(content["abstained"])
        read["metrics"] = {site: dict(figures) for site, figures in content["metrics"].items()}
        read["agreement"] = tuple(None if mean is None else float(mean) for mean in agreement)
        read["notes"] = tuple(str(note) for note in notes)
        return cls(**read)


def _without_what_is_absent(line: dict[str, Any], has_experts: bool) -> dict[str, Any]:
    absent = {"expert_mass": not has_experts, "flags": not line["flags"]}
    return {name: value for name, value in line.items() if not absent.get(name)}


def _accepted(line: Mapping[str, Any]) -> Accepted:
    mass = line.get("expert_mass")
    flags = tuple(line.get("flags", ()))
    return Accepted(**{**line, "expert_mass": None if mass is None else tuple(mass), "flags": flags})


class Ledger:
    """All rounds of a run, in order."""

    def __init__(self, signature: str = "") -> None:
        self.signature = signature
        self._rounds: list[RoundRecord] = []

    @property
    def rounds(self) -> tuple[RoundRecord, ...]:
        """The rounds so far."""
        return tuple(self._rounds)

    @property
    def sites(self) -> set[str]:
        """All that were heard of."""
        return {
            site
            for record in self._rounds
            for site in (*record.abstained, *(line.site for line in (*record.accepted, *record.rejected)))
            if site != SERVER
        }

    def add(self, record: RoundRecord) -> None:
        """Append a round. Rounds of the same or a higher number are dropped: a resumed run does them again."""
        self._rounds = [*(known for known in self._rounds if known.round < record.round), record]

    def to_json(self) -> dict[str, Any]:
        """The whole ledger as builtins."""
        rounds = [record.to_json() for record in self._rounds]
        return {"schema": SCHEMA, "signature": self.signature, "rounds": rounds}

    def save(self, path: Path) -> None:
        """Write the ledger, atomically. Raises ``OSError``."""
        storage.write_json(path, self.to_json())

    @classmethod
    def from_json(cls, content: Any) -> Ledger:
        """The inverse of ``to_json``.

        Raises:
            InputError: the content is no ledger, or one of another schema.
        """
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise InputError(f"Not a ledger: expected a JSON object with 'schema': {SCHEMA}.")
        try:
            ledger = cls(content["signature"])
            for entry in content["rounds"]:
                ledger.add(RoundRecord.from_json(entry))
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise InputError(f"The ledger is damaged: {error}.") from None
        return ledger
