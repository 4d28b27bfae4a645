# SPDX-License-Identifier: Apache-2.0
"""Rows 1 to 24: what a site sends, and when."""

from __future__ import annotations

from faults.row import Row

_ROWS = "flare/test_fault_rows.py::"
_REFUSED = _ROWS + "test_refused_with_a_sentence_and_without_a_trace"
_NO_TRACE = "flare/test_malformed_updates.py::test_no_malformed_update_raises_or_leaves_a_byte"


def _refused(number: int, *names: str) -> tuple[str, ...]:
    return tuple(f"{_REFUSED}[{number} {name}]" for name in names)


_DTYPES = ("dtype int32", "dtype complex64", "dtype U3", "dtype object")
_COUNTS = ("-1 cases", "NaN cases", "0 cases")
_ABSENT = ("no number of cases", "no number of steps")
_MASSES = ("negative mass", "mass NaN", "mass unlike the cases", "mass for one expert")

ROWS_OF_UPDATES = (
    Row(1, "NaN in an update", "refused", (*_refused(1, "NaN"), _NO_TRACE), ("NaN",)),
    Row(2, "Inf in an update", "refused", _refused(2, "Inf"), ("Inf",)),
    Row(
        3,
        "wrong shape of the first tensor",
        "refused",
        _refused(3, "shape of the first tensor"),
        ("shape of the first tensor",),
    ),
    Row(
        4,
        "wrong shape of a later tensor, large values before it",
        "refused whole: the sums are the same to the byte",
        (
            *_refused(4, "shape of a later tensor"),
            "federation/test_take_back.py::test_a_bad_last_element_of_any_tensor_leaves_every_byte",
        ),
        ("shape of a later tensor",),
    ),
    Row(
        5,
        "a shape that broadcasts, (1, 2) for (2, 2)",
        "refused",
        _refused(5, "broadcastable shape"),
        ("broadcastable shape",),
    ),
    Row(
        6,
        "a tensor is missing",
        "refused; experts that a site did not use may be",
        (
            *_refused(6, "missing tensor"),
            "federation/test_update.py::test_an_expert_without_mass_may_be_left_out",
        ),
        ("missing tensor",),
    ),
    Row(7, "a tensor too many", "refused", _refused(7, "extra tensor"), ("extra tensor",)),
    Row(8, "no tensors", "refused", _refused(8, "no tensors"), ("no tensors",)),
    Row(
        9,
        "values are integers, complex, text, objects",
        "refused",
        _refused(9, *_DTYPES),
        _DTYPES,
    ),
    Row(
        10,
        "float16 that overflows in a sum",
        "widened before it is added",
        (
            _ROWS + "test_float16_is_widened_before_it_is_summed",
            "federation/test_fixed_point.py::test_float16_does_not_overflow_in_the_sum",
        ),
        "Inf",
    ),
    Row(
        11,
        "integer buffers in the model",
        "the round takes no updates and says why",
        (_ROWS + "test_integer_buffers_are_no_part_of_a_model",),
        "averaged into floats",
    ),
    Row(
        12,
        "a billion cases",
        "refused; a large count that may be true is cut to `max_site_share`",
        (
            *_refused(12, "a billion cases"),
            _ROWS + "test_a_site_that_states_all_cases_gets_its_share",
            "federation/test_site_share.py::test_the_server_counts_a_site_as_its_share",
        ),
        ("a billion cases",),
    ),
    Row(13, "cases negative, NaN or 0", "refused", _refused(13, *_COUNTS), _COUNTS),
    Row(14, "no number of cases or steps", "refused", _refused(14, *_ABSENT), _ABSENT),
    Row(
        15,
        "masses negative, NaN, unlike the cases, for too few experts",
        "refused",
        _refused(15, *_MASSES),
        "has no masses",
    ),
    Row(
        16,
        "an update a million or a thousand times too long",
        "refused where values leave ±1024, else cut to a multiple of the running median, and flagged",
        (
            *_refused(16, "a million times"),
            _ROWS + "test_an_update_that_is_too_long_is_cut_and_flagged",
            "federation/test_norm_bound.py::test_an_update_a_thousand_times_too_long_counts_as_one_at_the_bound",
        ),
        ("a million times", "a thousand times"),
    ),
    Row(
        17,
        "sign flip, label flip, backdoor",
        "a flipped sign is flagged; robust merges can be chosen, see docs/security.md",
        (
            "federation/test_direction.py::test_a_flipped_sign_is_flagged_whatever_its_length",
            _ROWS + "test_a_robust_merge_withstands_a_flipped_sign",
            "federation/test_robust_merge.py::test_one_hostile_site_of_six_cannot_steer_shared_layers_or_experts",
            "faults/test_attacks.py",
        ),
        ("flipped sign",),
    ),
    Row(18, "an answer to an earlier round", "refused", _refused(18, "stale round"), ("stale round",)),
    Row(19, "a second answer", "refused", _refused(19, "second answer"), ("second answer",)),
    Row(20, "another kind of data", "refused", _refused(20, "another kind of data"), ("another kind of data",)),
    Row(
        21,
        "nobody was accepted",
        "the model is held; the job stops after some rounds in a row",
        (
            "flare/test_aggregator_shell.py::test_without_quorum_the_model_is_held",
            "flare/test_aggregator_shell.py::test_after_too_many_failed_rounds_the_job_stops_with_a_sentence",
        ),
        '"succeeds" with an unchanged model',
    ),
    Row(
        22,
        "an error reply",
        "in the ledger with its sentence; the round goes on",
        ("flare/test_aggregator_shell.py::test_an_error_reply_is_in_the_ledger_with_its_sentence",),
        "ignored while enough sites remain",
    ),
    Row(
        23,
        "an unregistered type on the wire",
        "sites send numpy and builtins only",
        ("flare/test_executor_shell.py::test_only_numpy_and_builtins_go_over_the_wire",),
        "the server's job dies (tried once, in processes)",
    ),
    Row(
        24,
        "answers in another order, from many threads",
        "the same bytes",
        (
            "flare/test_malformed_updates.py::test_any_permutation_and_any_interleaving_of_threads_give_the_same_bytes",
            "federation/test_server_round.py::test_arrival_order_leaves_no_trace",
            "federation/test_server_round.py::test_eight_threads_at_once_give_the_same_bytes",
        ),
        "three results in six orders (tried once)",
    ),
)
