# SPDX-License-Identifier: Apache-2.0
"""The numbers a site states about its own update, read with suspicion.

Types are compared exactly: a subclass may bring its own ``__eq__`` or ``__len__``, and ``True`` is an ``int``.
Each function raises ``Rejected`` with the sentence for the ledger.
"""

from __future__ import annotations

import math
from typing import Any

from fedpac_me.federation.rejection import Rejected, show

MAX_STEPS = 10**7
MAX_METRICS = 64
MAX_METRIC_NAME = 64
MASS_TOLERANCE = 1e-6


def read_count(meta: dict[str, Any], name: str, most: int) -> int:
    """A whole number from 1 to ``most``."""
    value = meta.get(name)
    if type(value) is not int or not 1 <= value <= most:
        raise Rejected(f"'{name}' must be an integer from 1 to {most}, got {show(value)}.")
    return value


def read_abstained(meta: dict[str, Any]) -> bool:
    """Whether the site only evaluates; absent means it trains."""
    value = meta.get("abstained", False)
    if type(value) is not bool:
        raise Rejected(f"'abstained' must be True or False, got {show(value)}.")
    return value


def read_seconds(meta: dict[str, Any]) -> float:
    """How long the site worked; absent means not measured, 0."""
    value = meta.get("seconds", 0.0)
    if not _is_finite(value) or value < 0:
        raise Rejected(f"'seconds' must be a finite number of at least 0, got {show(value)}.")
    return float(value)


def read_expert_mass(meta: dict[str, Any], experts: int, cases: int) -> tuple[float, ...] | None:
    """How many of the ``cases`` each expert answered for; ``None`` where the model has no experts."""
    value = meta.get("expert_mass")
    if experts == 0:
        if value is None or (type(value) in (list, tuple) and not value):
            return None
        raise Rejected(f"'expert_mass' must be absent, since the model has no experts, got {show(value)}.")
    if type(value) not in (list, tuple):
        raise Rejected(f"'expert_mass' must be a list of {experts} numbers, got {show(value)}.")
    if len(value) != experts:
        raise Rejected(f"'expert_mass' must have one number for each of the {experts} experts, got {len(value)}.")
    for expert, mass in enumerate(value):
        if not _is_finite(mass) or mass < 0:
            raise Rejected(f"'expert_mass' of expert {expert} must be finite and at least 0, got {show(mass)}.")
    masses = tuple(float(mass) for mass in value)
    total = math.fsum(masses)
    if abs(total - cases) > MASS_TOLERANCE * cases:
        raise Rejected(f"'expert_mass' must sum to the {cases} cases of the site, got {total:.9g}.")
    return masses


def read_metrics(meta: dict[str, Any]) -> dict[str, float]:
    """Named figures for the ledger and the console, sorted by name; absent means none."""
    value = meta.get("metrics")
    if value is None:
        return {}
    if type(value) is not dict:
        raise Rejected(f"'metrics' must be a dict of numbers, got {show(value)}.")
    if len(value) > MAX_METRICS:
        raise Rejected(f"'metrics' may have {MAX_METRICS} entries at most, got {len(value)}.")
    for name, figure in value.items():
        if type(name) is not str or len(name) > MAX_METRIC_NAME:
            raise Rejected(f"A metric's name must be a string of {MAX_METRIC_NAME} letters at most, got {show(name)}.")
        if not _is_finite(figure):
            raise Rejected(f"The metric {show(name)} must be a finite number, got {show(figure)}.")
    return {name: float(value[name]) for name in sorted(value)}


def _is_finite(value: object) -> bool:
    """Whether ``value`` is a plain number that a float can hold."""
    if type(value) is int:
        return value.bit_length() <= 1000
    return type(value) is float and math.isfinite(value)
