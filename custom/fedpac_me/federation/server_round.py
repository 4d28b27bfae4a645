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
from dataclasses import replace
from typing import Any

import numpy as np

from fedpac_me.config import Config
from fedpac_me.errors import InputError
from fedpac_me.federation import ledger, update
from fedpac_me.federation.adam import ServerAdam
from fedpac_me.federation.agreement import Agreement
from fedpac_me.federation.direction import Directions
from fedpac_me.federation.fixed_point import MAX_TOTAL_WEIGHT
from fedpac_me.federation.gathering import Gathering
from fedpac_me.federation.merge_rules import MergeRules
from fedpac_me.federation.moments import from_moments, variances
from fedpac_me.federation.momentum import ServerMomentum
from fedpac_me.federation.open_round import OpenRound, RoundResult
from fedpac_me.federation.precision import FLOAT32, FORMATS, as_sent
from fedpac_me.federation.prototype_server import PrototypeServer, prototype_arguments
from fedpac_me.federation.rejection import Rejected, kind, one_line, show
from fedpac_me.federation.scan import Scan
from fedpac_me.federation.schema import Schema
from fedpac_me.federation.server_step import ServerStep
from fedpac_me.federation.site_update import SiteUpdate
from fedpac_me.federation.update import DEFAULT_LIMITS, Contribution, Limits, Verdict

_log = logging.getLogger(__name__)


class RoundServer:
    """Checks, merges and records the rounds of one federation. Thread-safe.

    Args:
        quorum: fewest accepted updates that may change the model; 0 never counts a round as failed.
        server_momentum, expert_momentum: see ``momentum``.
        server_adam: arguments of ``adam.ServerAdam``, which takes the momentum's place, or ``None``.
        limits: bounds of a contribution, see ``update.Limits``.
        share: "all", or "nothing" where every site keeps its own model and the server only keeps the ledger.
        prototypes: arguments of ``PrototypeServer``, or ``None`` where the method has no prototypes.
        download: the format of ``precision`` in which the model goes out, for the ledger.
        clock: seconds from any origin, for the rounds' duration.
        rules: see ``merge_rules.MergeRules``.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        quorum: int = 1,
        server_momentum: float = 0.0,
        limits: Limits = DEFAULT_LIMITS,
        share: str = "all",
        expert_momentum: bool = True,
        prototypes: Mapping[str, Any] | None = None,
        server_adam: Mapping[str, Any] | None = None,
        download: str = FLOAT32,
        clock: Callable[[], float] = time.monotonic,
        **rules: Any,
    ) -> None:
        if type(quorum) is not int or quorum < 0:
            raise InputError(f"The quorum must be an integer of at least 0, got {quorum!r}.")
        if share not in ("all", "nothing"):
            raise InputError(f"'share' must be 'all' or 'nothing', got {share!r}.")
        if download not in FORMATS:
            raise InputError(f"'download' must be one of {', '.join(FORMATS)}, got {download!r}.")
        self.quorum = quorum
        self.download = download
        self.limits = limits
        self.share = share
        self.rules = MergeRules(**rules)
        self.rules.check_quorum(quorum)
        self.norm_bound = self.rules.norm_bound()
        self.prototypes = PrototypeServer(**prototypes) if prototypes is not None else None
        self.server_step: ServerStep = (
            ServerMomentum(server_momentum, expert_momentum)
            if server_adam is None
            else ServerAdam(**server_adam, experts=expert_momentum)
        )
        self.failed_rounds_in_a_row = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._open: OpenRound | None = None

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
            verdict = self._judged(now, contribution)
            now.note(contribution, verdict)
            return verdict

    def record_error(self, site: str, reason: str) -> None:
        """Enter a site's error reply, or an answer that could not even be read, into the ledger."""
        with self._lock:
            if self._open is not None and self._open.result is None:
                self._open.refuse(site, reason)

    def close(self) -> RoundResult:
        """End the round and free its sums. Closing again repeats the outcome, but not the difference."""
        with self._lock:
            now = self._open if self._open is not None else self._opened(-1, {})
            self._open = now
            if now.result is None:
                diff, outcome = self._closed(now)
                now.gathering = None
                failed = outcome == ledger.NO_QUORUM
                self.failed_rounds_in_a_row = self.failed_rounds_in_a_row + 1 if failed else 0
                meta = self.prototypes.close(outcome == ledger.MERGED) if self.prototypes else {}
                now.result = RoundResult({}, outcome, now.record(outcome, self._clock()), meta)
                return RoundResult(diff, outcome, now.result.record, meta)
            return now.result

    @property
    def progress(self) -> dict[str, Any]:
        """The round in figures, as builtins, for a console; means over the sites that reported the metric."""
        with self._lock:
            now = self._open
            if now is None:
                return {"round": -1, "accepted": 0, "rejected": 0, "abstained": 0, "failed_rounds_in_a_row": 0}
            return now.counts() | {"failed_rounds_in_a_row": self.failed_rounds_in_a_row}

    def accepted_scores(self, metric: str = "dice_mean") -> list[float]:
        """What the accepted sites reported as ``metric`` of the received model, in the order of their names."""
        with self._lock:
            now = self._open
            sites = sorted(now.accepted) if now is not None else []
            return [now.metrics[site][metric] for site in sites if metric in now.metrics.get(site, {})]

    def _opened(self, number: int, weights: Mapping[str, np.ndarray]) -> OpenRound:
        now = OpenRound(number if type(number) is int else -1, self._clock())
        try:
            if type(number) is not int:
                raise InputError(f"The round must be an integer, got {show(number)}.")
            now.schema = Schema.learn(weights)
            now.bytes_down_each = update.array_bytes(as_sent(weights, self.download))
            now.gathering = self.rules.opened(now.schema)
            now.agreement = Agreement(now.schema)
            now.directions = Directions(now.schema)
            now.variances = variances(weights)
        except InputError as error:
            now.fault = str(error)
        except Exception as error:
            _log.exception("The round's model could not be read")
            now.fault = f"The global model could not be read: {kind(error)}."
        return now

    def _judged(self, now: OpenRound, contribution: Contribution) -> Verdict:
        if now.schema is None or now.gathering is None or now.fault:
            return Verdict(ok=False, reason=f"Round {now.number} takes no updates: {one_line(now.fault)}")
        adds = self.share != "nothing"
        verdict = update.check(now.schema, contribution, now.number, now.heard, self.limits, values=not adds)
        if not verdict.ok or verdict.abstained or not adds:
            return verdict
        try:
            sums = self.prototypes.read(contribution.meta, verdict.steps) if self.prototypes else None
        except Rejected as rejected:
            return Verdict(ok=False, reason=str(rejected))
        verdict = self._added(now, now.gathering, contribution, verdict)
        if verdict.ok and sums is not None:
            self.prototypes.gather(contribution.site, sums)
        return verdict

    def _added(self, now: OpenRound, gathering: Gathering, contribution: Contribution, verdict: Verdict) -> Verdict:
        """Check the values and take them; a rejection takes back what was added."""
        if not gathering.has_room(verdict.cases, verdict.expert_mass):
            return Verdict(
                ok=False,
                reason=f"All sites together may report {MAX_TOTAL_WEIGHT} cases, {verdict.cases} more are too many.",
            )
        scan = Scan(self.limits.bound)
        sent = SiteUpdate(contribution.site, contribution.diff, verdict.cases, verdict.expert_mass)
        try:
            clip = gathering.add(sent, scan, self.norm_bound)
        except Rejected as rejected:
            return Verdict(ok=False, reason=str(rejected))
        except Exception as error:
            # Nothing a site sends gets here, but memory can run out; sums that may be half added must not be used.
            _log.exception("An accepted update could not be added")
            now.fault = f"An update could not be added ({kind(error)}), so the round's sums are not used."
            return Verdict(ok=False, reason=now.fault)
        now.agreement.add(sent.site, sent.diff, sent.expert_mass)
        now.directions.add(sent.site, sent.diff)
        now.norms[sent.site] = scan.norms
        return replace(verdict, norm=scan.norm, flags=(clip.flag,) if clip.flag else ())

    def _closed(self, now: OpenRound) -> tuple[dict[str, np.ndarray], str]:
        """The difference and the outcome."""
        if self.share == "nothing":
            return {}, ledger.HELD
        if now.fault:
            now.refuse(ledger.SERVER, now.fault)
            return {}, ledger.NO_QUORUM
        if now.gathering is None or len(now.accepted) < max(self.quorum, 1):
            return {}, ledger.NO_QUORUM if self.quorum else ledger.HELD
        try:
            merged = now.gathering.close()
            step = self.server_step.apply(from_moments(merged.diff, now.variances))
        except Exception as error:
            _log.exception("The round could not be merged")
            now.refuse(ledger.SERVER, f"The round could not be merged: {kind(error)}.")
            return {}, ledger.NO_QUORUM
        now.notes = merged.held
        now.flag(merged.flags)
        now.flag(now.directions.flags())
        self.norm_bound.end_round(now.norms.values())
        return step, ledger.MERGED


def server_arguments(config: Config) -> dict[str, Any]:
    """The arguments of ``RoundServer`` that ``config`` asks for, builtins only."""
    federation = config.federation
    names = ("quorum", "server_momentum", "share", "expert_momentum", "download")
    own = {name: getattr(federation, name) for name in names}
    adam = federation.server_adam
    return {
        **own,
        **federation.merge_rules,
        "prototypes": prototype_arguments(config),
        "server_adam": adam.model_dump() if adam is not None else None,
    }
