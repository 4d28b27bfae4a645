# SPDX-License-Identifier: Apache-2.0
"""Hospitals that contradict each other: what is bright at one is dark at the next, and three lack a sequence each.

People, patients and image quality are the demo's. On T1 and T1ce the hospitals 1 and 3 contradict 2 and 4 in every
scan, on T2 and FLAIR each hospital has both grey scales in its own archive.
"""

from __future__ import annotations

from dataclasses import replace

from fedpac_me.data.phantom.hospitals import HOSPITALS as DEMO_HOSPITALS
from fedpac_me.data.phantom.hospitals import Hospital
from fedpac_me.data.phantom.scanner import PROTOCOLS as DEMO_PROTOCOLS
from fedpac_me.data.phantom.scanner import Protocol
from fedpac_me.labels import MODALITIES


def _protocol(number: int, description: str, inverted: tuple[str, ...]) -> Protocol:
    """P<number>'s image quality with the reference's contrasts, some of them upside down."""
    like = DEMO_PROTOCOLS[f"P{number}"]
    return replace(
        like, name=f"C{number}", description=description, contrast=DEMO_PROTOCOLS["P0"].contrast, inverted=inverted
    )


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        _protocol(0, "the demo's reference", ()),
        _protocol(1, "every sequence inverted; strong bias field", MODALITIES),
        _protocol(2, "T2 and FLAIR inverted; thick axial slices", ("t2", "flair")),
        _protocol(3, "T1 and T1ce inverted; thick coronal slices", ("t1", "t1ce")),
        _protocol(4, "T1 and FLAIR inverted; low field: noise, thick sagittal slices", ("t1", "flair")),
    )
}
"""C0 to C3 are owned by training hospitals, C4 by none."""


def _hospital(number: int, description: str, protocols: dict[str, float], missing: tuple[str, ...] = ()) -> Hospital:
    """The demo's hospital of that number with other machines."""
    return replace(DEMO_HOSPITALS[number - 1], description=description, protocols=protocols, missing=missing)


HOSPITALS = (
    _hospital(1, "large centre, mostly high-grade", {"C0": 0.7, "C2": 0.3}),
    _hospital(2, "middle-sized, acquires no T2", {"C1": 0.6, "C3": 0.4}, ("t2",)),
    _hospital(3, "small, acquires no FLAIR", {"C2": 0.5, "C0": 0.5}, ("flair",)),
    _hospital(4, "small, mostly low-grade gliomas, smaller tumours, acquires no T1", {"C3": 0.65, "C1": 0.35}, ("t1",)),
    _hospital(
        5,
        "never trains; every known protocol and one that nobody else has",
        {"C0": 0.15, "C1": 0.2, "C2": 0.15, "C3": 0.2, "C4": 0.3},
    ),
)
