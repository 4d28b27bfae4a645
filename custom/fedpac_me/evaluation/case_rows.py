# SPDX-License-Identifier: Apache-2.0
"""What a site may say of a test case: checked before a report is made of it, and cut down to what a report is for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fedpac_me.errors import InputError
from fedpac_me.evaluation.calibration import CALIBRATION
from fedpac_me.evaluation.metrics import BASIC_METRICS, METRICS
from fedpac_me.evaluation.pair_matching import PAIR_MATCHING
from fedpac_me.labels import REGIONS

MOST_EXPERTS = 1000
"""No run has as many; a damaged number must not become a table of that width."""

PROPERTIES = ("protocol", "grade")
"""Text that a test case may carry; only sites that know it write it."""

SCORES = (*METRICS, *CALIBRATION)
"""The columns of ``cases.csv`` that every case has, though an older run leaves some of them empty."""

_EXPERTS = ("expert", "second_expert")
_NUMBERS_OR_UNKNOWN = (
    *(*CALIBRATION, PAIR_MATCHING, "distance", "far"),
    *(f"second_dice_{region}" for region in REGIONS),
)
_PLAIN_NAME = re.compile(r"[A-Za-z]\w{0,63}", re.ASCII)
_MOST_BITS = 1000  # a larger integer is no float


def checked_case(case: Mapping[str, Any], where: str) -> dict[str, Any]:
    """One case of a site's reply.

    Of keys that this version does not know, numbers are kept: they are another version's figures. Text and whatever
    else is dropped, for nobody has looked at what it says of the patient.

    Args:
        case: as read from JSON.
        where: the case in words, for the error.

    Raises:
        InputError: a figure that every case has is not a number, or an expert's number is not one.
    """
    wanted = [name for name in METRICS if name in BASIC_METRICS or name in case]
    wrong = [name for name in wanted if not _is_number(case.get(name))]
    if wrong:
        raise InputError(f"{where} has no number for {', '.join(wrong)}; was it written by another version?")
    for name in _EXPERTS:
        expert = case.get(name)
        if expert is not None and not (type(expert) is int and 0 <= expert < MOST_EXPERTS):
            raise InputError(f"{where} has {expert!r} for {name}; experts are counted 0, 1, 2 and so on.")
    wrong = [name for name in _NUMBERS_OR_UNKNOWN if case.get(name) is not None and not _is_number(case[name])]
    if wrong:
        raise InputError(f"{where} has something else than a number for {', '.join(wrong)}.")
    return {name: value for name, value in case.items() if _is_wanted(name, value)}


def _is_wanted(name: str, value: Any) -> bool:
    if name in PROPERTIES:
        return value is None or isinstance(value, str) or _is_number(value)
    return _PLAIN_NAME.fullmatch(name) is not None and (value is None or _is_number(value))


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and value.bit_length() <= _MOST_BITS)
