# SPDX-License-Identifier: Apache-2.0
"""What the server knows of the round in progress, and what remains of it in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fedpac_me.federation import update
from fedpac_me.federation.agreement import Agreement
from fedpac_me.federation.direction import Directions
from fedpac_me.federation.gathering import Gathering
from fedpac_me.federation.ledger import SERVER, Accepted, Refused, RoundRecord
from fedpac_me.federation.progress import agreement_of_sites, mean_metrics, routed_cases
from fedpac_me.federation.rejection import one_line
from fedpac_me.federation.scan import Norms
from fedpac_me.federation.schema import Schema
from fedpac_me.federation.update import Contribution, Verdict


@dataclass(frozen=True)
class RoundResult:
    """What a round comes to: the difference to add to the model (empty: hold the model), the ledger's line, and what
    goes out with the next round.
    """

    diff: dict[str, np.ndarray]
    outcome: str
    record: RoundRecord
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass
class OpenRound:
    """One round. ``fault``: why it takes no updates; ``norms``: the length of every accepted update as it arrived;
    ``bytes_down_each``: of the model as a site receives it.
    """

    number: int
    started: float
    schema: Schema | None = None
    gathering: Gathering | None = None
    agreement: Agreement = field(default_factory=Agreement)
    directions: Directions = field(default_factory=Directions)
    variances: dict[str, np.ndarray] = field(default_factory=dict)
    norms: dict[str, Norms] = field(default_factory=dict)
    fault: str = ""
    accepted: dict[str, Accepted] = field(default_factory=dict)
    rejected: list[Refused] = field(default_factory=list)
    abstained: set[str] = field(default_factory=set)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    bytes_up: int = 0
    bytes_down_each: int = 0
    result: RoundResult | None = None

    @property
    def heard(self) -> set[str]:
        """The sites that cannot answer again."""
        return self.abstained | self.accepted.keys()

    def note(self, contribution: Contribution, verdict: Verdict) -> None:
        """Enter the verdict on a contribution."""
        self.bytes_up += update.payload_bytes(contribution)
        site = _name_of(contribution)
        if not verdict.ok:
            self.refuse(site, verdict.reason)
            return
        if verdict.abstained:
            self.abstained.add(site)
        else:
            self.accepted[site] = Accepted(
                site, verdict.cases, verdict.steps, verdict.seconds, verdict.norm, verdict.expert_mass, verdict.flags
            )
        if verdict.metrics:
            self.metrics[site] = dict(verdict.metrics)

    def refuse(self, site: object, reason: object) -> None:
        """Enter a refusal, an error reply, or what the server itself could not do."""
        self.rejected.append(Refused(one_line(site), one_line(reason)))

    def flag(self, flags: Mapping[str, str]) -> None:
        """Add a remark to the lines of accepted sites."""
        for site in flags.keys() & self.accepted.keys():
            line = self.accepted[site]
            self.accepted[site] = replace(line, flags=(*line.flags, flags[site]))

    def counts(self) -> dict[str, Any]:
        """The round in figures, as builtins, for a console; means over the sites that reported the metric."""
        counts = {
            "round": self.number,
            "accepted": len(self.accepted),
            "rejected": len(self.rejected),
            "abstained": len(self.abstained),
        }
        agreement = agreement_of_sites(self.agreement.means())
        return counts | routed_cases(self.accepted) | agreement | mean_metrics(self.metrics)

    def record(self, outcome: str, now: float) -> RoundRecord:
        """The ledger's line; ``now`` on the clock that ``started`` was read from."""
        answered = self.heard | {line.site for line in self.rejected if line.site != SERVER}
        return RoundRecord(
            round=self.number,
            outcome=outcome,
            seconds=round(now - self.started, 3),
            accepted=tuple(self.accepted[site] for site in sorted(self.accepted)),
            rejected=tuple(sorted(self.rejected, key=lambda line: (line.site, line.reason))),
            abstained=tuple(sorted(self.abstained)),
            bytes_up=self.bytes_up,
            bytes_down=self.bytes_down_each * len(answered),
            metrics={site: self.metrics[site] for site in sorted(self.metrics)},
            agreement=self.agreement.means(),
            notes=self.notes,
        )


def _name_of(contribution: Contribution) -> str:
    site = contribution.site if type(contribution) is Contribution else None
    is_name = type(site) is str and 1 <= len(site) <= update.MAX_SITE_NAME and site.isprintable()
    return site if is_name else one_line(site)
