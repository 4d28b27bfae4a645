# SPDX-License-Identifier: Apache-2.0
"""Every way to break the contract, as (what is changed in an honest contribution, words the reason must contain)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fedpac_me.federation.update import Contribution

from .contributions import ROUND
from .hostile import Hostile, HostileDict, HostileNumber, HostileText

Change = Callable[[Contribution], Contribution]
LAST = "trunk.weight"
FIRST = "head.experts.0.bias"
COUNT = "must be an integer from 1 to"
ODD_CASES = (True, 10.0, math.nan, -1, 0, 10**9, 2**14 + 1, None, "10")
ODD_STEPS = (True, 30.0, -5, 0, 10**7 + 1, None)
DTYPES = (
    *((name, name) for name in ("float64", "int32", "complex64", "object", "bool", "datetime64[s]")),
    ("U3", "<U3"),
    (">f4", ">f4"),
    ([("a", "f4")], "[('a', '<f4')]"),
)


def meta(**entries: Any) -> Change:
    return lambda good: replace(good, meta={**good.meta, **entries})


def without(entry: str) -> Change:
    return lambda good: replace(good, meta={name: value for name, value in good.meta.items() if name != entry})


def tensor(value: Any, name: Any = LAST) -> Change:
    return lambda good: replace(good, diff={**good.diff, name: value})


def dropped(*names: str) -> Change:
    return lambda good: replace(good, diff={name: value for name, value in good.diff.items() if name not in names})


def spoiled(value: float, name: str = LAST) -> Change:
    def change(good: Contribution) -> Contribution:
        array = good.diff[name].copy()
        array.flat[-1] = value
        return replace(good, diff={**good.diff, name: array})

    return change


def envelope(**entries: Any) -> Change:
    return lambda good: replace(good, **entries)


def little_mass_left_out(good: Contribution) -> Contribution:
    return dropped(FIRST, "head.experts.0.weight")(meta(expert_mass=[0.125, 9.875])(good))


_ENVELOPE: list[tuple[str, Change, str]] = [
    ("no contribution", lambda good: None, "Expected a contribution, got None"),  # type: ignore[arg-type,return-value]
    ("kind", envelope(data_kind="WEIGHTS"), "data kind must be WEIGHT_DIFF, got 'WEIGHTS'"),
    ("kind None", envelope(data_kind=None), "data kind must be WEIGHT_DIFF, got None"),
    ("kind hostile", envelope(data_kind=HostileText("WEIGHT_DIFF")), "got a value of type HostileText"),
    ("stale", envelope(round=ROUND - 1), "came late: its round is over, expected round 5, got 4"),
    ("future", envelope(round=ROUND + 1), "has not begun, expected round 5, got 6"),
    ("round None", envelope(round=None), "round must be an integer, expected 5, got None"),
    ("round bool", envelope(round=True), "round must be an integer, expected 5, got True"),
    ("round float", envelope(round=5.0), "round must be an integer, expected 5, got 5.0"),
    ("round hostile", envelope(round=Hostile()), "got a value of type Hostile"),
    ("duplicate", envelope(site="already"), "'already' has already been heard in round 5"),
    ("site empty", envelope(site=""), "name must be a string of 1 to 256"),
    ("site long", envelope(site="x" * 257), "name must be a string of 1 to 256"),
    ("site unprintable", envelope(site="a\ud800"), "printable letters, got 'a\\ud800'"),
    ("site hostile", envelope(site=Hostile()), "got a value of type Hostile"),
    ("data None", envelope(diff=None), "data of an update must be a dict, got None"),
    ("data list", envelope(diff=[1.0]), "data of an update must be a dict, got a value of type list"),
    ("data hostile", envelope(diff=HostileDict()), "data of an update must be a dict"),
    ("meta None", envelope(meta=None), "meta of an update must be a dict, got None"),
    ("meta hostile", envelope(meta=HostileDict()), "got a value of type HostileDict"),
]

_VERSIONS: list[tuple[str, Change, str]] = [
    ("protocol missing", without("protocol"), "'protocol' must be the integer 1, got None"),
    (
        "encrypted",
        lambda good: tensor(b"ciphertext")(meta(PROCESSED_ALGORITHM="CKKS")(good)),
        "The update is encrypted ('CKKS'), but every check and every merge needs it in the clear",
    ),
    ("protocol bool", meta(protocol=True), "'protocol' must be the integer 1, got True"),
    ("protocol older", meta(protocol=0), "'protocol' must be 1, got 0: the site is older"),
    ("protocol newer", meta(protocol=2), "'protocol' must be 1, got 2: the server is older"),
    ("protocol hostile", meta(protocol=HostileNumber(1)), "got a value of type HostileNumber"),
    ("signature missing", without("signature"), "signature must be '"),
    ("signature, same code", meta(signature="0"), "got '0': both run 0.1.0, so their configurations"),
    ("signature, older site", meta(signature="0", code="0.0.9"), "the site is older (site '0.0.9', server 0.1.0)"),
    ("signature, older server", meta(signature="0", code="0.10"), "the server is older (site '0.10'"),
    ("signature, no code", meta(signature="0", code=None), "the site does not say which version"),
    ("signature, odd code", meta(signature="0", code="x.1"), "the site does not say which version"),
    ("signature hostile", meta(signature=HostileText("x")), "got a value of type HostileText"),
]

_FACTS: list[tuple[str, Change, str]] = [
    ("abstained odd", meta(abstained=1), "'abstained' must be True or False, got 1"),
    ("abstained with weights", meta(abstained=True), "abstains must send no weights, got 6 tensors"),
    *((f"cases {value!r}", meta(cases=value), f"{COUNT} 16384, got {value!r}") for value in ODD_CASES),
    ("cases numpy", meta(cases=np.int64(10)), f"{COUNT} 16384, got a value of type int64"),
    ("cases hostile", meta(cases=Hostile()), f"{COUNT} 16384, got a value of type Hostile"),
    ("cases huge is not printed", meta(cases=10**5000), "got an integer of 16610 bits"),
    ("cases missing", without("cases"), "'cases' must be an integer"),
    *((f"steps {value!r}", meta(steps=value), f"{COUNT} 10000000, got {value!r}") for value in ODD_STEPS),
    ("mass missing", without("expert_mass"), "'expert_mass' must be a list of 2 numbers, got None"),
    ("mass array", meta(expert_mass=np.array([2.5, 7.5])), "must be a list of 2 numbers, got an array"),
    ("mass short", meta(expert_mass=[10.0]), "one number for each of the 2 experts, got 1"),
    ("mass long", meta(expert_mass=[5.0, 5.0, 0.0]), "one number for each of the 2 experts, got 3"),
    ("mass NaN", meta(expert_mass=[math.nan, 10.0]), "of expert 0 must be finite and at least 0, got nan"),
    ("mass Inf", meta(expert_mass=[0, math.inf]), "of expert 1 must be finite and at least 0, got inf"),
    ("mass negative", meta(expert_mass=[-1.0, 11.0]), "of expert 0 must be finite and at least 0, got -1.0"),
    ("mass bool", meta(expert_mass=[True, 9.0]), "of expert 0 must be finite"),
    ("mass text", meta(expert_mass=["2", 8.0]), "of expert 0 must be finite and at least 0, got '2'"),
    ("mass sum", meta(expert_mass=[2.5, 7.6]), "must sum to the 10 cases of the site, got 10.1"),
    ("mass hostile", meta(expert_mass=Hostile()), "must be a list of 2 numbers, got a value of type Hostile"),
    ("mass huge", meta(expert_mass=[10**400, 1]), "of expert 0 must be finite"),
    ("seconds NaN", meta(seconds=math.nan), "'seconds' must be a finite number of at least 0, got nan"),
    ("seconds negative", meta(seconds=-1), "'seconds' must be a finite number of at least 0, got -1"),
    ("metrics list", meta(metrics=[1.0]), "'metrics' must be a dict of numbers"),
    ("metrics NaN", meta(metrics={"dice_mean": math.nan}), "'dice_mean' must be a finite number, got nan"),
    ("metrics text", meta(metrics={"dice_mean": "0.5"}), "must be a finite number, got '0.5'"),
    ("metrics bool", meta(metrics={"dice_mean": True}), "must be a finite number, got True"),
    ("metrics long name", meta(metrics={"x" * 65: 0.5}), "must be a string of 64 letters at most"),
    ("metrics odd name", meta(metrics={1: 0.5}), "must be a string of 64 letters at most, got 1"),
    ("metrics too many", meta(metrics={str(n): 0.5 for n in range(65)}), "64 entries at most, got 65"),
    ("metrics hostile", meta(metrics={"a": Hostile()}), "got a value of type Hostile"),
]

_TENSORS: list[tuple[str, Change, str]] = [
    ("empty", envelope(diff={}), "2 of 2 are missing, the first is 'trunk.bias'"),
    ("missing", dropped(LAST), "1 of 2 are missing, the first is 'trunk.weight'"),
    ("extra", tensor(np.zeros(1, np.float32), "new"), "no tensor 'new': unknown key"),
    ("odd key", tensor(np.zeros(1, np.float32), 7), "name must be a string, got 7"),
    ("hostile key", tensor(np.zeros(1, np.float32), None), "name must be a string, got None"),
    ("half an expert", dropped(FIRST), "of expert 0 go together or not at all, 'head.experts.0.bias' is missing"),
    (
        "expert with mass left out",
        dropped(FIRST, "head.experts.0.weight"),
        "its mass must be 0, got 2.5: 'head.experts.0.bias' is missing",
    ),
    ("expert with little mass left out", little_mass_left_out, "its mass must be 0, got 0.125"),
    ("shape", tensor(np.zeros((2, 3), np.float32)), "'trunk.weight' must have shape (2, 2), got (2, 3)"),
    (
        "shape, first key",
        tensor(np.zeros(2, np.float32), FIRST),
        "'head.experts.0.bias' must have shape (1,), got (2,)",
    ),
    ("broadcastable", tensor(np.zeros((1, 2), np.float32)), "must have shape (2, 2), got (1, 2)"),
    ("0-d", tensor(np.zeros((), np.float32)), "must have shape (2, 2), got ()"),
    *(
        (
            f"dtype {dtype}",
            tensor(np.zeros((2, 2), dtype)),
            f"'trunk.weight' must have dtype float32 or float16, got {shown}",
        )
        for dtype, shown in DTYPES
    ),
    ("list", tensor([[0.0, 0.0], [0.0, 0.0]]), "'trunk.weight' must be a numpy array, got a value of type list"),
    ("ciphertext", tensor(b"ciphertext"), "'trunk.weight' must be a numpy array, got a value of type bytes"),
    ("None", tensor(None), "must be a numpy array, got None"),
    ("scalar", tensor(np.float32(0)), "must be a numpy array, got a value of type float32"),
    ("masked array", tensor(np.ma.zeros((2, 2), np.float32)), "got a value of type MaskedArray"),
    ("hostile value", tensor(Hostile()), "must be a numpy array, got a value of type Hostile"),
    ("NaN", spoiled(math.nan), "'trunk.weight' must be finite, got NaN or infinity (non_finite)"),
    ("Inf", spoiled(math.inf), "'trunk.weight' must be finite"),
    ("-Inf, first key", spoiled(-math.inf, FIRST), "'head.experts.0.bias' must be finite"),
    ("too large", spoiled(1025.0), "'trunk.weight' must stay within ±1024, got a value of size 1025"),
    ("too small", spoiled(-1e30), "must stay within ±1024, got a value of size 1e+30"),
]

REJECTIONS = [*_ENVELOPE, *_VERSIONS, *_FACTS, *_TENSORS]
