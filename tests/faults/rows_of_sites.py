# SPDX-License-Identifier: Apache-2.0
"""Rows 25 to 44: data, memory, disks, processes, and what must not leave a site."""

from __future__ import annotations

from faults.row import Row

_ROWS = "flare/test_fault_rows.py::"
_UP = "flare/test_staying_up.py::"

ROWS_OF_SITES = (
    Row(
        25,
        "no answer before the timeout",
        "the round closes without the site; its late answer is not taken",
        (_UP + "test_rounds_close_without_a_site_that_hangs_and_its_late_answer_is_not_taken",),
    ),
    Row(
        26,
        "no training cases",
        "an error reply; the job goes on without the site",
        (
            "flare/test_executor_shell.py::test_an_empty_training_list_is_an_error_reply",
            "flare/test_authorisation.py::test_a_site_that_did_not_say_where_its_data_is_says_that_and_the_others_go_on",
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
            "federation/test_run_state.py::test_code_in_it_is_refused_not_run",
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
