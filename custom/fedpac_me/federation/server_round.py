# SPDX-License-Identifier: Apache-2.0
"""One round on the server: begin, accept …, close. The FLARE shell holds one of these and only translates.

No method raises, whatever arrives: in FLARE an exception in ``accept`` drops the other sites' results and one in
``aggregate`` ends the job. What went wrong is a sentence in the answer and in the ledger instead.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fedpac_me.config import Config
from fedpac_me.errors import InputError
from fedpac_me.federation import ledger, update
from fedpac_me.federation.agreement import Agreement
from fedpac_me.federation.fixed_point import MAX_TOTAL_WEIGHT
from fedpac_me.federation.ledger import RoundRecord
from fedpac_me.federation.merge import MASS, RULES, ExpertWiseMerge
from fedpac_me.federation.moments import from_moments, variances
from fedpac_me.federation.momentum import ServerMomentum
from fedpac_me.federation.progress import agreement_of_sites, mean_metrics, routed_cases
from fedpac_me.federation.prototype_server import PrototypeServer, prototype_arguments
from fedpac_me.federation.rejection import Rejected, kind, one_line, show
from fedpac_me.federation.scan import Scan
from fedpac_me.federation.schema import Schema
from fedpac_me.federation.update import DEFAULT_LIMITS, Contribution, Limits, Verdict

_SERVER = ledger.SERVER
_log = logging.getLogger(__name__)


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
class _Open:
    """What is known of the round in progress."""

    number: int
    started: float
    schema: Schema | None = None
    merge: ExpertWiseMerge | None = None
    agreement: Agreement = field(default_factory=Agreement)
    variances: dict[str, np.ndarray] = field(default_factory=dict)
    fault: str = ""
    accepted: dict[str, ledger.Accepted] = field(default_factory=dict)
    rejected: list[ledger.Refused] = field(default_factory=list)
    abstained: set[str] = field(default_factory=set)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    bytes_up: int = 0
    result: RoundResult | None = None


class RoundServer:
    """Checks, merges and records the rounds of one federation. Thread-safe.

    Args:
        quorum: fewest accepted updates that may change the model; 0 never counts a round as failed.
        server_momentum, expert_momentum: see ``momentum``.
        limits: bounds of a contribution, see ``update.Limits``.
        share: "all", or "nothing" where every site keeps its own model and the server only keeps the ledger.
        expert_merge, expert_prior: see ``merge.ExpertWiseMerge``.
        prototypes: arguments of ``PrototypeServer``, or ``None`` where the method has no prototypes.
        clock: seconds from any origin, for the rounds' duration.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        quorum: int = 1,
        server_momentum: float = 0.0,
        limits: Limits = DEFAULT_LIMITS,
        share: str = "all",
        expert_merge: str = MASS,
        expert_prior: float = 0.0,
        expert_momentum: bool = True,
        prototypes: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if type(quorum) is not int or quorum < 0:
            raise InputError(f"The quorum must be an integer of at least 0, got {quorum!r}.")
        if share not in ("all", "nothing"):
            raise InputError(f"'share' must be 'all' or 'nothing', got {share!r}.")
        self.quorum = quorum
        self.limits = limits
        if expert_merge not in RULES:
            raise InputError(f"'expert_merge' must be one of {', '.join(RULES)}, got {expert_merge!r}.")
        self.share = share
        self.expert_merge = expert_merge
        self.expert_prior = expert_prior
        self.prototypes = PrototypeServer(**prototypes) if prototypes is not None else None
        self.momentum = ServerMomentum(server_momentum, expert_momentum)
        self.failed_rounds_in_a_row = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._open: _Open | None = None

    @property
    def signature(self) -> str:
        """The signature of the current round's model; empty before the first round."""
        known = self._open
        return known.schema.signature if known and known.schema else ""

    def begin(self, round: int, global_weights: Mapping[str, np.ndarray]) -> str:
        """Open a round on this model, forgetting the last one; nothing happens if ``round`` is the current one.

        Returns an empty string, or the sentence that says why no update can be accepted in this round.
        """
        with self._lock:
            if self._open is None or self._open.number != round:
                self._open = self._opened(round, global_weights)
            return self._open.fault

    def accept(self, contribution: Contribution) -> Verdict:
        """Check a contribution and, if it is good, add it; after a rejection the sums are as they were."""
        with self._lock:
            now = self._open
            if now is None or now.result is not None:
                state = "no round has begun" if now is None else f"round {show(now.number)} is closed"
                return Verdict(ok=False, reason=f"The update came at the wrong time: {state}.")
            now.bytes_up += update.payload_bytes(contribution)
            verdict = self._judged(now, contribution)
            site = _name_of(contribution)
            if verdict.ok:
                _note(now, site, verdict)
            else:
                now.rejected.append(ledger.Refused(site, verdict.reason))
            return verdict

    def record_error(self, site: str, reason: str) -> None:
        """Enter a site's error reply, or an answer that could not even be read, into the ledger."""
        with self._lock:
            if self._open is not None and self._open.result is None:
                self._open.rejected.append(ledger.Refused(one_line(site), one_line(reason)))

    def close(self) -> RoundResult:
        """End the round and free its sums. Closing again repeats the outcome, but not the difference."""
        with self._lock:
            now = self._open if self._open is not None else self._opened(-1, {})
            self._open = now
            if now.result is None:
                diff, outcome = self._closed(now)
                now.merge = None
                failed = outcome == ledger.NO_QUORUM
                self.failed_rounds_in_a_row = self.failed_rounds_in_a_row + 1 if failed else 0
                meta = self.prototypes.close(outcome == ledger.MERGED) if self.prototypes else {}
                now.result = RoundResult({}, outcome, self._record(now, outcome), meta)
                return RoundResult(diff, outcome, now.result.record, meta)
            return now.result

    @property
    def progress(self) -> dict[str, Any]:
        """The round in figures, as builtins, for a console; means over the sites that reported the metric."""
        with self._lock:
            now = self._open
            if now is None:
                return {"round": -1, "accepted": 0, "rejected": 0, "abstained": 0, "failed_rounds_in_a_row": 0}
            counts = {
                "round": now.number,
                "accepted": len(now.accepted),
                "rejected": len(now.rejected),
                "abstained": len(now.abstained),
                "failed_rounds_in_a_row": self.failed_rounds_in_a_row,
            }
            agreement = agreement_of_sites(now.agreement.means())
            return counts | routed_cases(now.accepted) | agreement | mean_metrics(now.metrics)

    def accepted_scores(self, metric: str = "dice_mean") -> list[float]:
        """What the accepted sites reported as ``metric`` of the received model, in the order of their names."""
        with self._lock:
            now = self._open
            sites = sorted(now.accepted) if now is not None else []
            return [now.metrics[site][metric] for site in sites if metric in now.metrics.get(site, {})]

    def _opened(self, number: int, weights: Mapping[str, np.ndarray]) -> _Open:
        now = _Open(number if type(number) is int else -1, self._clock())
        try:
            if type(number) is not int:
                raise InputError(f"The round must be an integer, got {show(number)}.")
            now.schema = Schema.learn(weights)
            now.merge = ExpertWiseMerge(now.schema, self.expert_merge, self.expert_prior)
            now.agreement = Agreement(now.schema)
            now.variances = variances(weights)
        except InputError as error:
            now.fault = str(error)
        except Exception as error:
            _log.exception("The round's model could not be read")
            now.fault = f"The global model could not be read: {kind(error)}."
        return now

    def _judged(self, now: _Open, contribution: Contribution) -> Verdict:
        if now.schema is None or now.merge is None or now.fault:
            return Verdict(ok=False, reason=f"Round {now.number} takes no updates: {one_line(now.fault)}")
        heard = now.abstained | now.accepted.keys()
        adds = self.share != "nothing"
        verdict = update.check(now.schema, contribution, now.number, heard, self.limits, values=not adds)
        if not verdict.ok or verdict.abstained or not adds:
            return verdict
        try:
            sums = self.prototypes.read(contribution.meta, verdict.steps) if self.prototypes else None
        except Rejected as rejected:
            return Verdict(ok=False, reason=str(rejected))
        verdict = self._added(now, now.merge, contribution, verdict)
        if verdict.ok and sums is not None:
            self.prototypes.gather(contribution.site, sums)
        return verdict

    def _added(self, now: _Open, merge: ExpertWiseMerge, contribution: Contribution, verdict: Verdict) -> Verdict:
        """Check the values and add them, chunk by chunk; a rejection takes back what was added."""
        if not merge.has_room(verdict.cases, verdict.expert_mass):
            return Verdict(
                ok=False,
                reason=f"All sites together may report {MAX_TOTAL_WEIGHT} cases, {verdict.cases} more are too many.",
            )
        scan = Scan(self.limits.bound)
        try:
            merge.add(contribution.diff, verdict.cases, verdict.expert_mass, scan)
        except Rejected as rejected:
            return Verdict(ok=False, reason=str(rejected))
        except Exception as error:
            # Nothing a site sends gets here, but memory can run out; sums that may be half added must not be used.
            _log.exception("An accepted update could not be added")
            now.fault = f"An update could not be added ({kind(error)}), so the round's sums are not used."
            return Verdict(ok=False, reason=now.fault)
        now.agreement.add(contribution.site, contribution.diff, verdict.expert_mass)
        return replace(verdict, norm=scan.norm)

    def _closed(self, now: _Open) -> tuple[dict[str, np.ndarray], str]:
        """The difference and the outcome."""
        if self.share == "nothing":
            return {}, ledger.HELD
        if now.fault:
            now.rejected.append(ledger.Refused(_SERVER, one_line(now.fault)))
            return {}, ledger.NO_QUORUM
        if now.merge is None or len(now.accepted) < max(self.quorum, 1):
            return {}, ledger.NO_QUORUM if self.quorum else ledger.HELD
        try:
            merged = from_moments(now.merge.result(release=True), now.variances)
            return self.momentum.apply(merged), ledger.MERGED
        except Exception as error:
            _log.exception("The round could not be merged")
            now.rejected.append(ledger.Refused(_SERVER, f"The round could not be merged: {kind(error)}."))
            return {}, ledger.NO_QUORUM

    def _record(self, now: _Open, outcome: str) -> RoundRecord:
        answered = now.abstained | now.accepted.keys() | {line.site for line in now.rejected if line.site != _SERVER}
        return RoundRecord(
            round=now.number,
            outcome=outcome,
            seconds=round(self._clock() - now.started, 3),
            accepted=tuple(now.accepted[site] for site in sorted(now.accepted)),
            rejected=tuple(sorted(now.rejected, key=lambda line: (line.site, line.reason))),
            abstained=tuple(sorted(now.abstained)),
            bytes_up=now.bytes_up,
            bytes_down=now.schema.nbytes * len(answered) if now.schema else 0,
            metrics={site: now.metrics[site] for site in sorted(now.metrics)},
            agreement=now.agreement.means(),
        )


def server_arguments(config: Config) -> dict[str, Any]:
    """The arguments of ``RoundServer`` that ``config`` asks for, builtins only."""
    names = ("quorum", "server_momentum", "share", "expert_merge", "expert_prior", "expert_momentum")
    return {name: getattr(config.federation, name) for name in names} | {"prototypes": prototype_arguments(config)}


def _note(now: _Open, site: str, verdict: Verdict) -> None:
    if verdict.abstained:
        now.abstained.add(site)
    else:
        now.accepted[site] = ledger.Accepted(
            site, verdict.cases, verdict.steps, verdict.seconds, verdict.norm, verdict.expert_mass
        )
    if verdict.metrics:
        now.metrics[site] = dict(verdict.metrics)


def _name_of(contribution: Contribution) -> str:
    site = contribution.site if type(contribution) is Contribution else None
    is_name = type(site) is str and 1 <= len(site) <= update.MAX_SITE_NAME and site.isprintable()
    return site if is_name else one_line(site)
