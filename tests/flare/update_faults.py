# SPDX-License-Identifier: Apache-2.0
"""Faults of one update, by their row in the table of faults: what is sent, and what the refusal must say."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from federation.contributions import ROUND
from federation.rejections import FIRST, LAST, Change, dropped, envelope, meta, spoiled, tensor, without
from fedpac_me.federation.update import Contribution


def times(factor: float) -> Change:
    """The whole update ``factor`` times as long."""
    return lambda good: replace(
        good, diff={name: (value * factor).astype(np.float32) for name, value in good.diff.items()}
    )


def half_good(good: Contribution) -> Contribution:
    """Large values, and among the last tensors one of a wrong shape."""
    return replace(good, diff={**times(1e4)(good).diff, "head.experts.1.weight": np.zeros(5, np.float32)})


REFUSED: dict[int, list[tuple[str, Change, str]]] = {
    1: [("NaN", spoiled(math.nan), "'trunk.weight' must be finite, got NaN or infinity (non_finite)")],
    2: [("Inf", spoiled(math.inf), "'trunk.weight' must be finite")],
    3: [("shape of the first tensor", tensor(np.zeros(2, np.float32), FIRST), "must have shape (1,), got (2,)")],
    4: [("shape of a later tensor", half_good, "must have shape (3,), got (5,)")],
    5: [("broadcastable shape", tensor(np.zeros((1, 2), np.float32)), "must have shape (2, 2), got (1, 2)")],
    6: [("missing tensor", dropped(LAST), "Every shared tensor must come, 1 of 2 are missing")],
    7: [("extra tensor", tensor(np.zeros(1, np.float32), "new"), "no tensor 'new': unknown key")],
    8: [("no tensors", envelope(diff={}), "2 of 2 are missing")],
    9: [
        (f"dtype {dtype}", tensor(np.ones((2, 2), dtype)), f"must have dtype float32 or float16, got {shown}")
        for dtype, shown in (("int32", "int32"), ("complex64", "complex64"), ("U3", "<U3"), ("object", "object"))
    ],
    12: [("a billion cases", meta(cases=10**9), "'cases' must be an integer from 1 to 16384, got 1000000000")],
    13: [
        ("-1 cases", meta(cases=-1), "'cases' must be an integer from 1 to 16384, got -1"),
        ("NaN cases", meta(cases=math.nan), "'cases' must be an integer from 1 to 16384, got nan"),
        ("0 cases", meta(cases=0), "'cases' must be an integer from 1 to 16384, got 0"),
    ],
    14: [
        ("no number of cases", without("cases"), "'cases' must be an integer from 1 to 16384, got None"),
        ("no number of steps", without("steps"), "'steps' must be an integer"),
    ],
    15: [
        ("negative mass", meta(expert_mass=[-1.0, 11.0]), "of expert 0 must be finite and at least 0, got -1.0"),
        ("mass NaN", meta(expert_mass=[math.nan, 10.0]), "of expert 0 must be finite and at least 0, got nan"),
        ("mass unlike the cases", meta(expert_mass=[2.5, 90.0]), "must sum to the 10 cases of the site, got 92.5"),
        ("mass for one expert", meta(expert_mass=[10.0]), "one number for each of the 2 experts, got 1"),
    ],
    16: [("a million times", times(1e6), "must stay within ±1024, got a value of size")],
    18: [("stale round", envelope(round=ROUND - 1), "came late: its round is over, expected round 5, got 4")],
    19: [("second answer", envelope(site="site-1"), "'site-1' has already been heard in round 5")],
    20: [("another kind of data", envelope(data_kind="WEIGHTS"), "data kind must be WEIGHT_DIFF, got 'WEIGHTS'")],
}
ACCEPTED: dict[int, list[tuple[str, Change]]] = {
    16: [("a thousand times", times(1e3))],
    17: [("flipped sign", times(-1.0))],
}
"""What no check can refuse: it is cut or flagged, and a robust merge withstands it."""
