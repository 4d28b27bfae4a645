# SPDX-License-Identifier: Apache-2.0
"""The table of faults: what goes wrong, what must happen then, and the tests that show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        fault: what goes wrong.
        expected: what this project does then.
        tests: pytest node ids below ``tests``; one with parameters only names that parameter.
        stock: names of faults in ``update_faults`` that FLARE's own aggregator is shown, or what is known of it.
    """

    number: int
    fault: str
    expected: str
    tests: tuple[str, ...]
    stock: tuple[str, ...] | str = ""


_ROWS = "flare/test_fault_rows.py::"
_REFUSED = _ROWS + "test_refused_with_a_sentence_and_without_a_trace"
_NO_TRACE = "flare/test_malformed_updates.py::test_no_malformed_update_raises_or_leaves_a_byte"
_UP = "flare/test_staying_up.py::"


def _refused(number: int, *names: str) -> tuple[str, ...]:
    return tuple(f"{_REFUSED}[{number} {name}]" for name in names)


_DTYPES = ("dtype int32", "dtype complex64", "dtype U3", "dtype object")
_COUNTS = ("-1 cases", "NaN cases", "0 cases")
_ABSENT = ("no number of cases", "no number of steps")
_MASSES = ("negative mass", "mass NaN", "mass unlike the cases", "mass for one expert")

ROWS = (
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
        "a flipped sign is flagged; a robust merge withstands it; the effect of all three is measured",
        (
            "federation/test_direction.py::test_a_flipped_sign_is_flagged_whatever_its_length",
            _ROWS + "test_a_robust_merge_withstands_a_flipped_sign",
            "federation/test_robust.py::test_one_hostile_site_of_six_cannot_steer_shared_layers_or_experts",
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
    Row(
        25,
        "no answer before the timeout",
        "the round closes without the site; its late answer is refused",
        (_UP + "test_rounds_close_without_a_site_that_hangs_and_its_late_answer_is_refused",),
    ),
    Row(
        26,
        "no training cases",
        "an error reply; the job goes on without the site",
        (
            "flare/test_executor_shell.py::test_an_empty_training_list_is_an_error_reply",
            _UP + "test_a_site_without_settings_says_so_and_the_others_go_on",
        ),
    ),
    Row(
        27,
        "a truncated file",
        "its case is left out and counted; above `max_unusable` the site stops with the reasons",
        (
            "unit/test_readable_cases.py::test_a_truncated_case_of_each_part_is_left_out_and_counted",
            "unit/test_readable_cases.py::test_too_many_in_one_part_are_refused_with_their_reasons",
            "flare/test_executor_shell.py::test_a_truncated_case_is_left_out_and_named_in_the_private_log_once",
        ),
    ),
    Row(
        28,
        "a modality is missing",
        "a mask of what is there, never zeros that pretend to be an image",
        (
            "unit/test_scan.py::test_a_missing_modality_is_absent_not_present_zeros",
            "unit/test_method_bad_input.py::test_a_site_that_never_acquires_a_modality_takes_part",
        ),
    ),
    Row(
        29,
        "modalities of different shape or place",
        "refused; file names stay in the site's own log",
        (
            "unit/test_scan.py::test_files_in_different_places_are_refused_even_when_resampling",
            "unit/test_case_findings.py::test_what_is_broken_is_found_and_nothing_else",
            "flare/test_executor_shell.py::test_bad_data_is_an_error_reply_and_the_file_name_stays_in_the_private_log",
        ),
    ),
    Row(
        30,
        "an unknown label; enhancing tumour 3 or 4",
        "found out from the data, or refused",
        (
            "unit/test_layouts.py::test_labels_in_memory_do_not_depend_on_the_layout",
            "unit/test_layouts.py::test_a_case_with_3_and_4_is_refused_and_decides_nothing",
            "flare/test_bad_input.py::test_bad_data_is_a_sentence_and_leaves_nothing[unknown label]",
        ),
    ),
    Row(
        31,
        "a volume of zeros, a channel of one value",
        "refused",
        (
            "unit/test_scan.py::test_a_damaged_case_is_refused_with_its_reason",
            "unit/test_method_bad_input.py::test_a_scan_without_a_brain_is_named_to_its_own_site_and_sends_nothing",
        ),
    ),
    Row(
        32,
        "NaN voxels",
        "refused",
        (
            "unit/test_case_findings.py::test_what_is_broken_is_found_and_nothing_else[NaN]",
            "unit/test_scan.py::test_a_damaged_case_is_refused_with_its_reason",
        ),
    ),
    Row(
        33,
        "the loss becomes NaN",
        "the round is given up before model or optimiser change; an error reply",
        (
            "unit/test_learning.py::test_nan_gives_up_the_round_before_it_reaches_model_or_optimiser",
            "flare/test_executor_shell.py::test_nan_in_the_received_model_is_refused_by_the_site",
        ),
    ),
    Row(
        34,
        "memory runs out",
        "one more attempt with smaller patches, then an error reply",
        (
            "unit/test_out_of_memory.py::test_one_more_attempt_is_the_round_with_smaller_patches",
            "unit/test_out_of_memory.py::test_memory_that_runs_out_again_is_a_sentence_and_leaves_no_state",
            "flare/test_executor_shell.py::test_memory_that_runs_out_is_an_error_reply_with_a_sentence",
        ),
    ),
    Row(
        35,
        "an abort in the middle of training",
        "answered within 2 s",
        ("flare/test_executor_shell.py::test_an_abort_in_the_middle_of_training_is_answered_within_two_seconds",),
    ),
    Row(
        36,
        "the disk is full",
        "what was saved stays; the round is merged all the same",
        (
            "unit/test_storage.py",
            "flare/test_aggregator_shell.py::test_a_round_that_cannot_be_written_down_is_still_merged",
            "unit/test_scan_cache.py::test_a_full_disk_is_a_sentence_and_leaves_nothing_half_written",
            "federation/test_run_state.py::test_a_state_that_cannot_be_written_leaves_the_one_before",
        ),
    ),
    Row(
        37,
        "a site's processes are killed in a round",
        "the round closes with the others; the site comes back in a later one",
        (
            _UP + "test_a_job_process_that_was_killed_is_started_again_and_the_job_goes_on",
            _UP + "test_rounds_close_without_a_client_that_was_killed_until_it_is_started_again",
        ),
    ),
    Row(
        38,
        "the server is killed",
        "another job goes on from its last state, to the same bytes",
        ("flare/test_resume.py::test_the_resumed_run_equals_the_uninterrupted_one",),
        "cannot go on",
    ),
    Row(
        39,
        "a damaged or malicious checkpoint",
        "refused, nothing in it runs; the one before it is used",
        (
            "unit/test_checkpoint.py::test_code_in_a_checkpoint_is_refused_not_run",
            "federation/test_run_state.py::test_a_pickle_in_it_is_never_run",
            "federation/test_run_state.py::test_no_flipped_bit_of_any_value_is_overlooked",
            "flare/test_resume.py::test_the_state_before_the_newest_one_gives_the_same_bytes",
        ),
    ),
    Row(
        40,
        "a configuration with an unknown key or a wrong type",
        "exit code 2 and the field's name",
        (
            "unit/test_config.py::test_a_wrong_key_or_value_is_named",
            "flare/test_bad_input.py::test_a_wrong_config_names_the_field",
        ),
    ),
    Row(
        41,
        "one subject at two sites",
        "found by salted hashes, counted at the server, named at the site",
        ("flare/test_data_stats_job.py::test_shared_subjects_are_counted_at_the_server_and_named_at_the_site",),
    ),
    Row(
        42,
        "a path in a list of cases",
        "refused",
        (
            "unit/test_federation_split.py::test_a_path_in_place_of_an_id_is_refused",
            "unit/test_site_data.py::test_a_wrong_split_is_refused",
        ),
    ),
    Row(
        43,
        "an unusual site name, a very long name of a metric",
        "works, or is refused with a sentence",
        (_ROWS + "test_a_site_with_an_unusual_name_takes_part",),
    ),
    Row(
        44,
        "ids, file names or paths in what the server holds",
        "none: the files, console, curves and report are searched for them",
        (
            "flare/test_simulation.py::test_no_patient_and_no_path_reaches_what_the_server_holds",
            "flare/test_poc.py::test_no_patient_and_no_path_of_a_site_reaches_the_server",
            "flare/test_leaks.py::test_the_server_has_the_sites_streamed_error_logs_and_no_patient_anywhere",
        ),
    ),
)
