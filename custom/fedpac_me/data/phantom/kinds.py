# SPDX-License-Identifier: Apache-2.0
"""The kinds of phantom: federations that are hard in different ways, with the same patients and numbers of cases."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fedpac_me.data.phantom import conflicting
from fedpac_me.data.phantom.hospitals import HOSPITALS, Hospital
from fedpac_me.data.phantom.scanner import PROTOCOLS, Protocol
from fedpac_me.errors import InputError

DEMO = "demo"


@dataclass(frozen=True)
class Kind:
    """One federation.

    Attributes:
        name: what ``--kind`` calls it.
        hospitals: the last one never trains.
        protocols: those that its hospitals have; no protocol of another kind has the name of a different one.
    """

    name: str
    hospitals: tuple[Hospital, ...]
    protocols: dict[str, Protocol]


_ONE_SCANNER = tuple(
    replace(hospital, description=description, protocols={protocol: 1.0})
    for hospital, protocol, description in zip(
        HOSPITALS,
        PROTOCOLS,
        (
            "large centre, mostly high-grade",
            "middle-sized",
            "small, acquires no FLAIR",
            "small, mostly low-grade gliomas, smaller tumours",
            "never trains; a protocol that nobody else has",
        ),
        strict=True,
    )
)

KINDS = {
    kind.name: kind
    for kind in (
        Kind(DEMO, HOSPITALS, PROTOCOLS),
        Kind("conflicting", conflicting.HOSPITALS, conflicting.PROTOCOLS),
        Kind("one-scanner", _ONE_SCANNER, PROTOCOLS),
    )
}

ALL_PROTOCOLS = {name: protocol for kind in KINDS.values() for name, protocol in kind.protocols.items()}


def kind_named(name: str) -> Kind:
    """The kind of that name. Raises ``InputError`` when there is none."""
    if name not in KINDS:
        raise InputError(f"There is no phantom of the kind {name}. Expected one of {', '.join(KINDS)}.")
    return KINDS[name]
