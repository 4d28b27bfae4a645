# SPDX-License-Identifier: Apache-2.0
"""What a site says of its embeddings, what the server says of prototypes, and every way to say it wrongly."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fedpac_me.errors import InputError
from fedpac_me.federation.prototypes import CONTRAST_REGIONS, MAX_COUNT, read_prototype_sums, read_prototypes
from fedpac_me.federation.rejection import Rejected, show

from .hostile import Hostile, HostileDict, HostileNumber, HostileText

EXPERTS, DIMENSION = 2, 3


def honest() -> dict[str, Any]:
    return {region: {"sum": [[1.0, 0.5, 0.0], [0.0, -2.0, 0.0]], "count": [2, 2]} for region in CONTRAST_REGIONS}


# What a site sends


def test_honest_sums() -> None:
    found = read_prototype_sums({"prototypes": honest()}, EXPERTS, DIMENSION)
    assert found.sums.shape == (2, 4, 3) and found.sums.dtype == np.float64
    assert found.counts.tolist() == [[2] * 4] * 2 and found.counts.dtype == np.int64
    assert found.sums[1, 3].tolist() == [0.0, -2.0, 0.0]


@pytest.mark.parametrize("meta", [{}, {"prototypes": None}])
def test_absent_is_none(meta: dict[str, Any]) -> None:
    assert read_prototype_sums(meta, EXPERTS) is None


def test_any_dimension_and_tuples_are_fine() -> None:
    meta = {region: {"sum": ((0.5,) * 7,), "count": (5,)} for region in CONTRAST_REGIONS}
    assert read_prototype_sums({"prototypes": meta}, 0).sums.shape == (1, 4, 7)


def test_rounding_of_a_sum_is_forgiven() -> None:
    meta = honest()
    meta["brain"]["sum"][1] = [0.0, -2.001, 0.0]
    assert read_prototype_sums({"prototypes": meta}, EXPERTS).sums[1, 0, 1] == -2.001


def whole(value: Any) -> Callable[[], Any]:
    return lambda: value


def part(value: Any, region: str = "necrosis") -> Callable[[], Any]:
    return lambda: {**honest(), region: value}


def with_count(value: Any) -> Callable[[], Any]:
    return part({"sum": honest()["brain"]["sum"], "count": value})


def with_sum(value: Any) -> Callable[[], Any]:
    return part({"sum": value, "count": [2, 2]})


def without(region: str, **more: Any) -> Callable[[], Any]:
    return lambda: {name: value for name, value in honest().items() if name != region} | more


ROW = [0.0, 0.0, 0.0]
REJECTIONS: list[tuple[str, Callable[[], Any], str]] = [
    *((f"whole {show(value)}", whole(value), "'prototypes' must be a dict") for value in ([], 1, "brain", {}, True)),
    ("whole hostile", whole(Hostile()), "got a value of type Hostile"),
    ("whole hostile dict", whole(HostileDict(honest())), "got a value of type HostileDict"),
    ("whole array", whole(np.zeros(3)), "got an array of float64"),
    ("region missing", without("brain"), "'prototypes' must be a dict with brain, oedema, necrosis, enhancing"),
    ("region extra", lambda: {**honest(), "cyst": honest()["brain"]}, "'prototypes' must be a dict with brain"),
    ("region unknown", without("brain", cyst=honest()["brain"]), "enhancing, got 'cyst'"),
    ("region number", lambda: {**without("brain")(), 4: honest()["brain"]}, "enhancing, got 4"),
    ("region None", lambda: {**without("brain")(), None: honest()["brain"]}, "enhancing, got None"),
    ("part None", part(None), "of 'necrosis' must be a dict of 'sum' and 'count', got None"),
    ("part list", part([[1.0], 2]), "of 'necrosis' must be a dict of 'sum' and 'count', got a value of type list"),
    ("part hostile", part(HostileDict(honest()["brain"])), "got a value of type HostileDict"),
    ("part without count", part({"sum": [ROW, ROW]}), "must be a dict of 'sum' and 'count'"),
    ("part with other", part({"sum": [ROW, ROW], "n": [0, 0]}), "of 'necrosis' lack 'count'"),
    ("part without sum", part({"mean": [ROW, ROW], "count": [0, 0]}), "of 'necrosis' lack 'sum'"),
    ("part odd key", part({"sum": [ROW, ROW], 1: [0, 0]}), "must be a dict of 'sum' and 'count'"),
    ("counts None", with_count(None), "must be a list of 2 integers, got None"),
    ("counts short", with_count([2]), "must be a list of 2 integers, got 1"),
    ("counts long", with_count([2, 2, 2]), "must be a list of 2 integers, got 3"),
    ("counts array", with_count(np.array([2, 2])), "must be a list of 2 integers, got an array of int64"),
    ("counts hostile", with_count(Hostile()), "got a value of type Hostile"),
    *(
        (f"count {show(value)}", with_count([2, value]), "must be an integer from 0 to 100, got ")
        for value in (True, 2.0, -1, 101, None, "2", math.nan, np.int64(2), HostileNumber(2), Hostile(), 10**5000)
    ),
    ("sums None", with_sum(None), "must be a list of 2 vectors, got None"),
    ("sums short", with_sum([ROW]), "must be a list of 2 vectors, got 1"),
    ("sums long", with_sum([ROW] * 3), "must be a list of 2 vectors, got 3"),
    ("sums array", with_sum(np.zeros((2, 3))), "must be a list of 2 vectors, got an array of float64"),
    ("sums flat", with_sum([0.0, 0.0]), "must be a list of 1 to 1024 numbers, got 0.0"),
    ("sum empty", with_sum([[], []]), "must be a list of 1 to 1024 numbers, got 0"),
    ("sum short", with_sum([ROW, ROW[:2]]), "must have 3 numbers, got 2"),
    ("sum long", with_sum([[*ROW, 0.0], ROW]), "must have 3 numbers, got 4"),
    ("sum huge", with_sum([[0.0] * 1025, ROW]), "must be a list of 1 to 1024 numbers, got 1025"),
    ("sum hostile", with_sum([ROW, Hostile()]), "numbers, got a value of type Hostile"),
    ("sum text", with_sum([ROW, "abc"]), "must be a list of 1 to 1024 numbers, got 'abc'"),
    *(
        (f"number {show(value)}", with_sum([ROW, [0.0, value, 0.0]]), "must hold finite floats, got ")
        for value in (math.nan, math.inf, -math.inf, None, "0", True, 0, np.float64(0), [0.0], Hostile(), 1j)
    ),
    ("sum too long a vector", with_sum([ROW, [2.0, 2.0, 0.0]]), "of expert 1 has length 2.82842712, but 2 unit"),
    ("sum absurd", with_sum([[1e308, 1e308, 1e308], ROW]), "of expert 0 has length inf, but 2 unit vectors"),
    ("sum of nothing", part({"sum": [[1e-9, 0.0, 0.0], ROW], "count": [0, 2]}), "but 0 unit vectors cannot"),
]


@pytest.mark.parametrize(("make", "words"), [case[1:] for case in REJECTIONS], ids=[case[0] for case in REJECTIONS])
def test_whatever_is_wrong_is_rejected_with_a_sentence(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(Rejected) as rejected:
        read_prototype_sums({"prototypes": make()}, EXPERTS, DIMENSION, most=100)
    sentence = str(rejected.value)
    assert words in sentence and sentence.endswith(".") and len(sentence) < 300


def test_a_hostile_region_name_is_not_compared() -> None:
    # A dict calls __hash__ when it is built, so the name fights back only afterwards.
    name = type("Name", (str,), {"__hash__": str.__hash__, "__eq__": HostileText.__eq__, "__repr__": Hostile.__repr__})
    meta = {**without("brain")(), name("brain"): honest()["brain"]}
    with pytest.raises(Rejected, match="got a value of type Name"):
        read_prototype_sums({"prototypes": meta}, EXPERTS, DIMENSION)


@pytest.mark.parametrize("meta", [[], 1, HostileDict()])
def test_a_meta_that_is_no_dict_is_rejected(meta: Any) -> None:
    with pytest.raises(Rejected):
        read_prototype_sums(meta, EXPERTS, DIMENSION)


def test_dimensions_must_agree_between_regions_too() -> None:
    meta = honest()
    meta["enhancing"]["sum"] = [[0.0] * 4] * 2
    with pytest.raises(Rejected, match="'enhancing' must have 3 numbers, got 4"):
        read_prototype_sums({"prototypes": meta}, EXPERTS)
    with pytest.raises(Rejected, match="'brain' must have 8 numbers, got 3"):
        read_prototype_sums({"prototypes": honest()}, EXPERTS, 8)


def test_counts_are_bounded_without_a_bound_given() -> None:
    meta = honest()
    meta["brain"]["count"] = [MAX_COUNT + 1, 2]
    with pytest.raises(Rejected, match="from 0 to 1073741824"):
        read_prototype_sums({"prototypes": meta}, EXPERTS)


# What a site receives


def received(**changes: Any) -> dict[str, Any]:
    entry = {"expert": 1, "region": "necrosis", "vector": [0.6, 0.0, -0.8], **changes}
    return {"dimension": 3, "entries": [entry, {"expert": 0, "region": "brain", "vector": [0.0, 1.0, 0.0]}]}


def test_received_prototypes() -> None:
    vectors, regions = read_prototypes(received(), 3)
    assert vectors.dtype == np.float32 and regions.dtype == np.int64
    assert vectors.tolist() == np.array([[0.6, 0, -0.8], [0, 1, 0]], np.float32).tolist() and regions.tolist() == [2, 0]


@pytest.mark.parametrize("meta", [None, {"dimension": 3, "entries": []}])
def test_no_prototypes_yet(meta: Any) -> None:
    vectors, regions = read_prototypes(meta, 3)
    assert vectors.shape == (0, 3) and regions.shape == (0,)


def test_another_dimension_says_what_to_do() -> None:
    with pytest.raises(InputError, match=r"dimension 3, but contrast\.dimension is 32 here: they come from an older"):
        read_prototypes(received(), 32)


@pytest.mark.parametrize(
    ("meta", "words"),
    [
        ([], "must be a dict with a list 'entries', got a value of type list"),
        ({"dimension": 3}, "must be a dict with a list 'entries'"),
        (HostileDict(), "got a value of type HostileDict"),
        ({"dimension": None, "entries": []}, "have dimension None"),
        ({"dimension": 3.0, "entries": []}, "have dimension 3.0"),
        ({"dimension": 3, "entries": [{}] * 257}, "256 prototypes at most, the server sent 257"),
        ({"dimension": 3, "entries": [None]}, "must be of one of brain, oedema, necrosis, enhancing, got None"),
        (received(region="cyst"), "enhancing, got 'cyst'"),
        (received(region=HostileText("brain")), "got a value of type HostileText"),
        (received(vector=None), "'necrosis' must be a unit vector of 3 floats"),
        (received(vector=[0.6, 0.8]), "must be a unit vector of 3 floats"),
        (received(vector=[0.0, 0.0, 0.0]), "must be a unit vector of 3 floats"),
        (received(vector=[1, 0, 0]), "must be a unit vector of 3 floats"),
        (received(vector=[math.nan, 0.0, 1.0]), "must be a unit vector of 3 floats"),
        (received(vector=[1e308, 1e308, 1e308]), "must be a unit vector of 3 floats"),
        (received(vector=[Hostile(), 0.0, 1.0]), "must be a unit vector of 3 floats"),
    ],
)
def test_a_site_is_as_suspicious(meta: Any, words: str) -> None:
    with pytest.raises(InputError) as error:
        read_prototypes(meta, 3)
    assert words in str(error.value)
