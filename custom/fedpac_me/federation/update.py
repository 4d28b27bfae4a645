# SPDX-License-Identifier: Apache-2.0
"""The wire contract: what a site may send, and the check that every contribution passes before it touches any state.

``check`` is a pure function that never raises: its answer is a ``Verdict`` with one sentence for the ledger.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import fedpac_me
from fedpac_me.federation import facts
from fedpac_me.federation.fixed_point import MAX_ABS, MAX_ABS_STATISTIC, MAX_TOTAL_WEIGHT
from fedpac_me.federation.rejection import Rejected, kind, show
from fedpac_me.federation.scan import measured_norm
from fedpac_me.federation.schema import Schema, is_statistic

PROTOCOL = 1
DATA_KIND = "WEIGHT_DIFF"
ENCRYPTED_BY = "PROCESSED_ALGORITHM"
"""FLARE's filters for homomorphic encryption write their algorithm here (``MetaKey``)."""
MAX_SITE_NAME = 256

_DTYPES = (np.dtype(np.float32), np.dtype(np.float16))
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """Bounds of what one site may send. They cannot be wider than what the merge is proven for.

    ``max_abs`` is for weights, ``max_statistic`` for the running statistics of normalisation layers, which are as
    large as activations get. By default a site may state a 64th of the cases that fit in a round at most: no single
    site can take the room of the others.
    """

    max_cases: int = 2**14
    max_abs: float = MAX_ABS
    max_statistic: float = MAX_ABS_STATISTIC

    def __post_init__(self) -> None:
        proven = 0 < self.max_abs <= MAX_ABS and 0 < self.max_statistic <= MAX_ABS_STATISTIC
        if not 1 <= self.max_cases <= MAX_TOTAL_WEIGHT or not proven:
            raise ValueError(
                f"Limits must be within 1 to {MAX_TOTAL_WEIGHT} cases, ±{MAX_ABS:g} for weights and "
                f"±{MAX_ABS_STATISTIC:.7g} for statistics, got {self}."
            )

    def bound(self, name: str) -> float:
        """The largest value that the tensor ``name`` may hold."""
        return self.max_statistic if is_statistic(name) else self.max_abs


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Contribution:
    """One answer of one site as it arrived; ``site`` is the authenticated name, everything else is a claim."""

    site: str
    data_kind: str
    round: object
    diff: Mapping[str, np.ndarray]
    meta: Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """The decision on a contribution, and the facts in it once they have been checked."""

    ok: bool
    reason: str = ""
    cases: int = 0
    steps: int = 0
    expert_mass: tuple[float, ...] | None = None
    abstained: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    norm: float = 0.0
    flags: tuple[str, ...] = ()


def check(
    schema: Schema,
    contribution: Contribution,
    expected_round: int,
    already: Collection[str],
    limits: Limits = DEFAULT_LIMITS,
    values: bool = True,
) -> Verdict:
    """Judge a contribution to round ``expected_round``; ``already``: the sites that were heard. Never raises.

    With ``values`` false the tensors' values are not looked at: whoever uses them must show them to a ``Scan``.
    """
    try:
        verdict = _checked(schema, contribution, expected_round, already, limits)
        if not values or verdict.abstained:
            return verdict
        names = [name for name in schema.names if name in contribution.diff]
        return replace(verdict, norm=measured_norm(contribution.diff, names, limits.bound))
    except Rejected as rejected:
        return Verdict(ok=False, reason=str(rejected))
    except Exception as error:
        # The outermost place: whatever a hostile object did, the round goes on. The log keeps the trace of a bug.
        _log.exception("A contribution could not be checked")
        return Verdict(ok=False, reason=f"The contribution could not be checked: {kind(error)} while reading it.")


def payload_bytes(contribution: Contribution) -> int:
    """Bytes of the arrays of a contribution; 0 when its data are not a dict of arrays. Never raises."""
    diff = contribution.diff if type(contribution) is Contribution else None
    if type(diff) is not dict or any(type(value) is not np.ndarray for value in diff.values()):
        return 0
    return array_bytes(diff)


def array_bytes(arrays: Mapping[str, np.ndarray]) -> int:
    """Bytes of the arrays' values: what travels before compression and encryption."""
    return sum(value.nbytes for value in arrays.values())


def _checked(
    schema: Schema, contribution: Contribution, expected_round: int, already: Collection[str], limits: Limits
) -> Verdict:
    """Everything but the values."""
    if type(contribution) is not Contribution:
        raise Rejected(f"Expected a contribution, got {show(contribution)}.")
    _check_envelope(contribution, expected_round, already)
    diff, meta = contribution.diff, contribution.meta
    _check_in_the_clear(meta)
    _check_protocol(meta)
    _check_signature(schema, meta)
    metrics, seconds = facts.read_metrics(meta), facts.read_seconds(meta)
    if facts.read_abstained(meta):
        if diff:
            raise Rejected(f"A site that abstains must send no weights, got {len(diff)} tensors.")
        return Verdict(ok=True, abstained=True, metrics=metrics, seconds=seconds)
    cases = facts.read_count(meta, "cases", limits.max_cases)
    steps = facts.read_count(meta, "steps", facts.MAX_STEPS)
    mass = facts.read_expert_mass(meta, schema.experts, cases)
    _check_keys(schema, diff, mass or ())
    for name in diff:
        _check_array(name, diff[name], schema.shapes[name])
    return Verdict(True, "", cases, steps, mass, False, metrics, seconds)


def _check_envelope(contribution: Contribution, expected_round: int, already: Collection[str]) -> None:
    """Kind, round, sender, containers. Exact types: no code of the sender's runs in a comparison."""
    site, got = contribution.site, contribution.round
    if type(contribution.data_kind) is not str or contribution.data_kind != DATA_KIND:
        raise Rejected(f"The data kind must be {DATA_KIND}, got {show(contribution.data_kind)}.")
    if type(got) is not int:
        raise Rejected(f"The round must be an integer, expected {expected_round}, got {show(got)}.")
    if got != expected_round:
        what = "came late: its round is over" if got < expected_round else "is for a round that has not begun"
        raise Rejected(f"The update {what}, expected round {expected_round}, got {show(got)}.")
    if type(site) is not str or not 1 <= len(site) <= MAX_SITE_NAME or not site.isprintable():
        raise Rejected(f"A site's name must be a string of 1 to {MAX_SITE_NAME} printable letters, got {show(site)}.")
    if site in already:
        raise Rejected(f"{show(site)} has already been heard in round {expected_round}: expected one update a site.")
    for what, value in (("data", contribution.diff), ("meta", contribution.meta)):
        if type(value) is not dict:
            raise Rejected(f"The {what} of an update must be a dict, got {show(value)}.")


def _check_in_the_clear(meta: dict[str, Any]) -> None:
    algorithm = meta.get(ENCRYPTED_BY)
    if algorithm is not None:
        raise Rejected(
            f"The update is encrypted ({show(algorithm)}), but every check and every merge needs it in the clear: take "
            "the filter that encrypts out of the job or out of the site's privacy.json."
        )


def _check_protocol(meta: dict[str, Any]) -> None:
    protocol = meta.get("protocol")
    if type(protocol) is not int:
        raise Rejected(f"'protocol' must be the integer {PROTOCOL}, got {show(protocol)}.")
    if protocol != PROTOCOL:
        older = "site" if protocol < PROTOCOL else "server"
        raise Rejected(f"'protocol' must be {PROTOCOL}, got {show(protocol)}: the {older} is older, update its code.")


def _check_signature(schema: Schema, meta: dict[str, Any]) -> None:
    signature = meta.get("signature")
    if type(signature) is not str or signature != schema.signature:
        cause = _who_is_older(meta.get("code"))
        raise Rejected(f"The model's signature must be '{schema.signature}', got {show(signature)}: {cause}.")


def _who_is_older(code: object) -> str:
    ours = fedpac_me.__version__
    theirs, mine = _version(code), _version(ours)
    if theirs is None or mine is None:
        return f"the server runs {ours}, the site does not say which version it runs"
    if theirs == mine:
        return f"both run {ours}, so their configurations of the model differ"
    older = "site" if theirs < mine else "server"
    return f"the {older} is older (site {show(code)}, server {ours}), update its code"


def _version(code: object) -> tuple[int, ...] | None:
    """The leading numbers of a version such as 0.1.0rc1; ``None`` for anything that is no version."""
    if type(code) is not str or len(code) > 32:
        return None
    numbers: list[int] = []
    for part in code.split("."):
        if not (part.isascii() and part.isdigit()):
            break
        numbers.append(int(part))
    return tuple(numbers) or None


def _check_keys(schema: Schema, diff: dict[Any, Any], expert_mass: Sequence[float]) -> None:
    for name in diff:
        if type(name) is not str:
            raise Rejected(f"A tensor's name must be a string, got {show(name)}.")
        if name not in schema.shapes:
            raise Rejected(f"The global model has no tensor {show(name)}: unknown key.")
    missing = [name for name in schema.shared_keys if name not in diff]
    if missing:
        count = f"{len(missing)} of {len(schema.shared_keys)}"
        raise Rejected(f"Every shared tensor must come, {count} are missing, the first is {show(missing[0])}.")
    for expert, keys in enumerate(schema.expert_keys):
        absent = [name for name in keys if name not in diff]
        if absent and len(absent) < len(keys):
            raise Rejected(f"The tensors of expert {expert} go together or not at all, {show(absent[0])} is missing.")
        if absent and expert_mass[expert] > 0:
            raise Rejected(
                f"Expert {expert} was left out, so its mass must be 0, got {expert_mass[expert]:.9g}: "
                f"{show(absent[0])} is missing."
            )


def _check_array(name: str, value: object, shape: tuple[int, ...]) -> None:
    if type(value) is not np.ndarray:
        raise Rejected(f"{show(name)} must be a numpy array, got {show(value)}.")
    if value.dtype not in _DTYPES:
        raise Rejected(f"{show(name)} must have dtype float32 or float16, got {str(value.dtype)[:80]}.")
    if value.shape != shape:
        raise Rejected(f"{show(name)} must have shape {shape}, got {value.shape}.")
