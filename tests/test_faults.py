"""Which tests show that the product survives which faults: a table, and that everything in it is there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
COMMAND_LINE, PROCESS = "integration/test_command_line.py", "integration/test_faults_command_line.py"
CLUSTER = "integration/test_cluster.py"
PLACES = "integration/test_cluster_places.py"
RUNS, DISKS, MIRROR = (
    "integration/test_faults.py",
    "integration/test_storage_faults.py",
    "integration/test_mirror_faults.py",
)

EVALUATE = "tuner/cli/test_evaluate.py"
REPAIR, FOLDERS = "tuner/search/test_repair.py", "tuner/search/test_open_runs.py"
DATABASE = "integration/test_database.py"
JOURNAL = "tuner/storage/test_journal.py"
SURROUNDINGS = "integration/test_surroundings.py"

FAULTS = {
    "the driver is killed, twice in a row, too": [
        (COMMAND_LINE, "test_killed_then_interrupted_then_terminated_then_completed"),
        ("tuner/search/test_ledger.py", "test_crashes_at_any_write_lose_nothing_and_double_nothing"),
        ("integration/test_chaos.py", "test_three_rounds_lose_nothing"),
    ],
    "Ctrl-C and SIGTERM, once and twice, to the process, its group, and all that it has started": [
        (COMMAND_LINE, "test_killed_then_interrupted_then_terminated_then_completed"),
        (PROCESS, "test_a_second_signal_quits_without_waiting_for_mlflow"),
        (PROCESS, "test_a_signal_to_every_process_ends_it_in_words_all_the_same"),
        ("tuner/execution/test_driver.py", "test_what_does_not_end_in_order_ends_all_the_same"),
    ],
    "a worker dies, or is killed for its memory": [
        ("integration/test_execution.py", "test_a_worker_that_dies_is_tried_again_from_its_checkpoint"),
        ("integration/test_execution.py", "test_a_worker_that_always_dies_fails_its_run_alone"),
        (PROCESS, "test_a_worker_that_is_killed_for_its_memory_is_named_as_such"),
    ],
    "a machine of the cluster dies, or is drained": [
        ("integration/test_chaos.py", "test_three_rounds_lose_nothing"),
        (CLUSTER, "test_a_worker_node_that_dies_loses_nothing"),
        ("integration/test_elasticity.py", "test_machines_may_die_more_often_than_workers"),
        (
            "tuner/execution/test_failures.py",
            "test_three_deaths_of_workers_are_tried_again_and_any_number_of_their_machines",
        ),
    ],
    "the head and a machine are cut off from each other": [
        ("integration/test_partition.py", "test_a_cut_loses_nothing_and_counts_nothing_twice")
    ],
    "the head of the cluster dies": [(CLUSTER, "test_when_the_head_dies_the_sweep_goes_on_on_another_cluster")],
    "the answer to a submission is lost; the same sweep is submitted twice": [
        ("tuner/cluster/test_submission.py", "test_an_answer_to_a_launch_that_is_lost_begins_nothing_twice"),
        ("tuner/cluster/test_submission.py", "test_two_who_launch_the_same_at_once_have_one"),
        (CLUSTER, "test_launched_followed_stopped_resumed_and_exported_from_elsewhere"),
    ],
    "machine and cluster have other releases": [
        (CLUSTER, "test_other_releases_are_refused_before_anything_begins"),
        ("tuner/cluster/test_submission.py", "test_errors_of_the_way_are_told_in_words"),
    ],
    "a worker that was taken for dead goes on": [
        (
            "trainables/worker/test_fencing.py",
            "test_an_attempt_that_is_overtaken_while_it_writes_puts_nothing_in_place",
        ),
        ("trainables/worker/test_trainable.py", "test_a_later_attempt_elsewhere_ends_an_earlier_one"),
    ],
    "a machine does not share the sweep's folder": [
        (PLACES, "test_nodes_share_the_folder_or_are_refused_and_fill_their_caches_from_it"),
        ("trainables/storage/test_shared.py", "test_another_folder_at_the_same_path_is_noticed"),
    ],
    "a run raises; five in a row": [
        ("integration/test_execution.py", "test_a_run_that_raises_fails_alone_with_its_traceback"),
        (RUNS, "test_five_failures_in_a_row_end_the_sweep_and_a_new_driver_counts_anew"),
        (PROCESS, "test_nothing_but_failures_end_the_sweep_which_says_why_everywhere"),
        ("tuner/execution/test_failures.py", "test_five_failures_in_a_row_and_nothing_else_give_the_sweep_up"),
    ],
    "a loss is not finite": [("integration/test_execution.py", "test_a_run_that_diverges_fails_and_says_so")],
    "a run hangs": [
        (RUNS, "test_a_run_that_hangs_is_tried_once_more_from_its_checkpoint"),
        (RUNS, "test_a_run_that_hangs_again_fails_alone"),
    ],
    "MLflow is down": [
        (MIRROR, "test_a_server_that_is_down_at_the_start_in_the_midst_and_at_the_end"),
        (MIRROR, "test_sync_rebuilds_the_whole_sweep_in_another_tracking_server"),
        (MIRROR, "test_requests_that_got_no_answer_but_were_done_are_healed"),
    ],
    "storage is locked, or stands still": [
        (DISKS, "test_a_journal_that_another_process_has_locked_is_written_all_the_same"),
        (DISKS, "test_a_file_system_that_stands_still_is_waited_for"),
        (DATABASE, "test_a_restart_of_the_server_loses_nothing_and_doubles_nothing"),
        (DATABASE, "test_an_answer_that_is_lost_leaves_every_line_once"),
        (DATABASE, "test_a_server_that_stays_away_ends_the_sweep_which_goes_on_later"),
        ("integration/test_database_sweeps.py", "test_nothing_is_lost_and_nothing_is_there_twice"),
    ],
    "a disk is full or cannot be written": [
        (DISKS, "test_a_full_disk_leaves_the_ledger_whole_and_the_sweep_goes_on_when_there_is_room"),
        (DISKS, "test_a_file_that_may_not_grow_is_cut_back_to_whole_lines"),
        (DISKS, "test_a_disk_without_room_is_refused_beforehand_with_both_numbers"),
        (DISKS, "test_a_folder_that_cannot_be_written_is_refused_and_can_be_read"),
        (PROCESS, "test_a_disk_that_runs_full_ends_the_sweep_in_words_and_it_goes_on_when_there_is_room"),
        (RUNS, "test_a_disk_that_is_full_for_a_worker_fails_no_run"),
    ],
    "bytes are cut off or flipped": [
        ("tuner/search/test_ledger.py", "test_a_torn_last_line_of_the_journal_is_cut_back"),
        ("tuner/search/test_ledger.py", "test_a_torn_last_line_of_metrics_is_cut_back"),
        (DISKS, "test_a_damaged_line_in_the_midst_of_the_journal_is_named"),
        ("trainables/storage/test_checkpoint.py", "test_a_damaged_newest_gives_the_previous"),
        ("trainables/storage/test_checkpoint.py", "test_one_flipped_bit_never_gives_a_wrong_state"),
    ],
    "a bit or a line of the journal is changed": [
        (JOURNAL, "test_every_bit_of_every_number_is_noticed"),
        (JOURNAL, "test_lines_that_are_removed_moved_doubled_or_of_another_sweep_are_noticed"),
        (JOURNAL, "test_a_pipe_and_a_folder_in_its_place_are_refused_at_once"),
        (JOURNAL, "test_a_follower_reads_each_line_once_and_notices_damage"),
    ],
    "any file of a sweep is damaged": [
        ("integration/test_fuzz.py", "test_damaged_files_are_refused_or_noticed_in_words"),
        ("tuner/sweep/test_damage.py", "test_no_command_ends_in_a_traceback_or_prints_another_number_in_silence"),
        ("tuner/results/test_verify.py", "test_each_damaged_file_is_named"),
        ("tuner/execution/test_evaluation.py", "test_an_older_copy_of_results_is_noticed_and_evaluated_again"),
        ("tuner/sweep/test_saved_sweeps.py", "test_settings_of_another_shape_are_named_with_the_study"),
        (
            "tuner/sweep/test_snapshot.py",
            "test_a_sweep_file_from_before_more_trials_were_asked_for_is_an_older_copy",
        ),
        ("tuner/storage/test_driver_lock.py", "test_what_is_no_file_in_the_place_of_one_is_named"),
        ("tuner/results/test_verify.py", "test_a_damaged_run_is_a_marked_row_and_the_others_are_as_before"),
    ],
    "a study's rows are deleted, its table dropped, of another shape or closed to the user": [
        (DATABASE, "test_missing_lines_are_noticed_at_both_ends_and_between"),
        (DATABASE, "test_a_table_that_goes_or_is_closed_in_mid_sweep_ends_the_driver_in_words"),
        (DATABASE, "test_what_keeps_a_study_from_being_written_is_said_before_anything_is_made"),
    ],
    "one name twice, two drivers at once": [
        ("tuner/sweep/test_folder.py", "test_a_name_is_taken_once"),
        ("tuner/sweep/test_folder.py", "test_a_second_driver_is_refused_by_name_even_if_the_lock_file_is_removed"),
        (DATABASE, "test_a_driver_on_another_host_is_refused_by_name"),
        (DATABASE, "test_an_idle_driver_takes_its_lock_again_before_anybody_else_can"),
        (DATABASE, "test_who_was_cut_off_and_replaced_writes_nothing_any_more"),
    ],
    "the space of a sweep is edited after its launch": [
        ("tuner/execution/test_edited.py", "test_it_is_refused_with_the_keys_before_anything_is_made"),
        (
            "tuner/execution/test_edited.py",
            "test_what_reads_says_it_in_a_line_and_shows_the_numbers_of_what_was_launched",
        ),
        ("tuner/sweep/test_identity.py", "test_what_makes_it_another_experiment_is_named"),
    ],
    "a sweep goes on with other code, another commit, other packages": [
        (
            "tuner/execution/test_software.py",
            "test_other_code_is_refused_by_name_until_it_is_accepted_which_is_recorded",
        ),
        ("tuner/execution/test_software.py", "test_a_sweep_is_evaluated_with_other_code_only_if_it_is_accepted"),
        ("tuner/execution/test_software.py", "test_another_commit_and_other_packages_are_said_in_a_line"),
        ("tuner/execution/test_software.py", "test_comments_docstrings_layout_and_other_code_are_no_change"),
    ],
    "the folder of a sweep is copied, moved, renamed or restored": [
        (
            "tuner/execution/upkeep/test_copying.py",
            "test_a_copied_folder_is_refused_by_whatever_writes_and_the_original_goes_on",
        ),
        ("tuner/execution/upkeep/test_copying.py", "test_a_renamed_moved_or_restored_sweep_goes_on"),
        (
            "tuner/execution/upkeep/test_copying.py",
            "test_a_copy_is_a_sweep_of_its_own_and_the_original_stays_byte_for_byte",
        ),
        (DATABASE, "test_a_copy_has_rows_of_its_own"),
        (
            "integration/test_storage_ledgers.py",
            "test_a_copy_in_the_object_store_is_noticed_and_one_that_is_made_by_the_command_is_its_own",
        ),
    ],
    "the lock file of a running sweep is removed": [
        ("tuner/sweep/test_folder.py", "test_a_second_driver_is_refused_by_name_even_if_the_lock_file_is_removed"),
        ("tuner/sweep/test_folder.py", "test_looks_at_the_lock_disturb_neither_each_other_nor_a_driver_that_starts"),
        ("tuner/execution/test_vanished.py", "test_the_next_write_says_what_happened_and_writes_nothing"),
    ],
    "the folder or the journal of a running sweep is renamed, removed or replaced": [
        ("tuner/execution/test_vanished.py", "test_the_next_write_says_what_happened_and_writes_nothing"),
        ("tuner/execution/test_vanished.py", "test_a_driver_ends_as_failed"),
        ("trainables/worker/test_fencing.py", "test_a_checkpoint_is_not_written_where_the_folder_was"),
    ],
    "a detached driver takes its time between looking and working": [
        (
            "tuner/execution/test_steering.py",
            "test_a_detached_driver_holds_its_sweep_when_the_launcher_returns",
        ),
    ],
    "the machine that drives a sweep in an object store is lost": [
        ("integration/test_storage_urls.py", "test_a_machine_that_is_lost_takes_nothing_with_it"),
        ("integration/test_storage_ledgers.py", "test_two_machines_drive_it_one_after_the_other_and_a_third_one_looks"),
        ("trainables/storage/test_sweep_store.py", "test_of_attempts_on_two_machines_the_later_one_writes"),
        ("trainables/storage/test_object_store.py", "test_a_store_that_is_away_is_waited_for"),
    ],
    "a file in a folder names a store, or a store lacks what is here": [
        ("tuner/sweep/test_folder.py", "test_a_file_that_names_a_store_changes_nothing_wherever_it_lies"),
        ("trainables/storage/test_sweep_store.py", "test_a_store_that_was_emptied_takes_nothing_from_here"),
        (
            "trainables/storage/test_sweep_store.py",
            "test_a_sweep_that_was_made_anew_or_removed_is_moved_aside_and_said",
        ),
        (
            "trainables/storage/test_sweep_store.py",
            "test_a_file_of_the_store_that_would_lie_elsewhere_here_is_refused",
        ),
    ],
    "a store does not answer, or its URL is none of a store": [
        (
            "tuner/sweep/test_folder.py",
            "test_a_store_that_does_not_answer_is_given_up_soon_and_nothing_waits_for_it_at_the_end",
        ),
        ("tuner/sweep/test_folder.py", "test_a_url_of_no_store_is_refused_in_words"),
        ("tuner/sweep/test_folder.py", "test_a_file_url_is_decoded"),
    ],
    "secrets in the environment, in arguments and in URLs": [
        ("trainables/common/test_redaction.py", "test_no_password_of_a_url_survives"),
        ("trainables/common/test_redaction.py", "test_no_secret_option_of_a_url_survives"),
        ("trainables/common/test_redaction.py", "test_values_of_the_environment_are_masked_wherever_they_stand"),
        ("tuner/cli/test_secrets.py", "test_no_message_repeats_one"),
        ("tuner/cli/test_secrets.py", "test_no_traceback_repeats_one"),
        ("tuner/cli/test_secrets.py", "test_no_file_holds_one"),
    ],
    "a cluster sends files that nobody asked for, or without end": [
        ("tuner/cluster/test_payload.py", "test_nothing_is_written_but_what_the_command_makes"),
        ("tuner/cluster/test_payload.py", "test_nothing_but_plain_files_is_written"),
        ("tuner/cluster/test_payload.py", "test_a_small_answer_does_not_become_a_large_one"),
        ("tuner/cluster/test_submission.py", "test_a_cluster_writes_nothing_here_that_the_command_does_not_make"),
        ("tuner/cluster/test_submission.py", "test_an_answer_without_end_is_not_read_to_its_end"),
    ],
    "a sweep's folder names a database of somebody else's": [
        ("tuner/storage/test_known_servers.py", "test_a_folder_that_names_a_server_makes_no_connection"),
        ("tuner/storage/test_known_servers.py", "test_no_server_gets_the_password_in_a_way_that_shows_it"),
        ("tuner/storage/test_known_servers.py", "test_an_option_that_leads_elsewhere_is_refused"),
    ],
    "the last checkpoint of a run that has ended is damaged, missing or another one's": [
        (REPAIR, "test_a_damaged_last_checkpoint_is_refused_and_trained_again"),
        (REPAIR, "test_a_run_that_does_not_become_what_it_was_is_not_used"),
        ("trainables/storage/test_checkpoint.py", "test_an_older_one_never_stands_for_the_last"),
        ("trainables/worker/test_trainable.py", "test_from_an_older_checkpoint_it_goes_on_with_a_warning"),
        ("integration/test_faults.py", "test_damaged_runs_are_trained_again_on_request"),
        ("tuner/results/pictures/test_draw.py", "test_the_last_checkpoint_though_an_older_one_is_there"),
        (
            "tuner/execution/test_evaluation.py",
            "test_without_the_last_checkpoint_a_run_is_not_evaluated_even_if_an_older_one_is_there",
        ),
        ("tuner/execution/test_evaluation.py", "test_without_the_last_checkpoint_a_run_is_not_confirmed"),
    ],
    "another driver starts between the repair of a sweep and the search that follows": [
        ("tuner/execution/test_driver.py", "test_from_the_repair_on_no_other_driver_can_come_in_between"),
        ("tuner/execution/test_driver.py", "test_what_is_repaired_is_repaired_by_the_driver_that_searches"),
    ],
    "the journal is lost or older than the folders of its runs": [
        ("tuner/results/test_verify.py", "test_what_is_said_of_a_run_or_a_run_that_is_missing_names_the_older_journal"),
        (FOLDERS, "test_with_other_settings_every_trial_begins_anew_and_the_old_files_are_kept"),
        (FOLDERS, "test_with_the_same_settings_every_run_goes_on"),
        (FOLDERS, "test_an_unfinished_run_does_not_go_on_from_files_of_another"),
        ("trainables/worker/test_trainable.py", "test_from_a_checkpoint_with_other_settings_no_run_goes_on"),
    ],
    "metrics are damaged, or are not what the journal says": [
        ("tuner/sweep/test_runs.py", "test_a_flipped_bit_is_noticed_wherever_it_is"),
        ("tuner/sweep/test_runs.py", "test_a_file_of_another_run_is_not_read"),
        (REPAIR, "test_damaged_metrics_are_refused_and_the_run_is_trained_again"),
        (REPAIR, "test_the_study_and_the_metrics_have_to_agree"),
    ],
    "a search space is wrong": [
        ("tuner/cli/test_app.py", "test_mistakes_are_refused_in_words_and_leave_nothing"),
        ("search_spaces/parsing/test_yaml_document.py", "test_no_text_raises_anything_but_a_space_error"),
        ("search_spaces/parsing/test_yaml_document.py", "test_a_bomb_of_aliases_is_refused_without_being_built"),
    ],
    "numbers beyond all bounds, required keys left out, combinations that cannot train": [
        ("search_spaces/checks/test_bounds.py", "test_every_number_and_every_list_of_a_space_has_bounds"),
        ("search_spaces/checks/test_bounds.py", "test_what_cannot_be_trained_is_refused_with_its_line"),
        (
            "search_spaces/test_mutations.py",
            "test_a_space_with_other_values_is_refused_in_words_or_can_be_trained",
        ),
        ("search_spaces/parsing/test_python_data.py", "test_whatever_is_given_is_a_space_or_a_space_error"),
        ("tuner/cli/test_app.py", "test_mistakes_are_refused_in_words_and_leave_nothing"),
    ],
    "a space with very many values, settings, baselines or conditions": [
        ("search_spaces/checks/test_cost.py", "test_twice_as_much_costs_at_most_twice_as_much"),
        (
            "search_spaces/checks/test_cost.py",
            "test_of_long_choices_and_many_settings_a_limited_number_of_configurations_is_validated",
        ),
    ],
    "more is asked for than there is": [
        ("tuner/cli/test_app.py", "test_mistakes_are_refused_in_words_and_leave_nothing"),
        (RUNS, "test_more_than_any_machine_of_the_cluster_has_is_refused_with_both_numbers"),
        (
            "integration/test_autoscaler.py",
            "test_machines_that_an_autoscaler_starts_are_waited_for_and_others_are_not",
        ),
    ],
    "data are missing or damaged": [
        ("trainables/data/test_ensure.py", "test_a_damaged_file_is_an_error_with_both_checksums"),
        ("trainables/data/test_ensure.py", "test_a_damaged_file_alone_is_fetched_again_once"),
        ("trainables/data/test_ensure.py", "test_no_source_left_says_why_each_failed_and_how_to_place_the_files"),
    ],
    "the clock is set back": [
        (MIRROR, "test_a_clock_that_is_set_back_changes_no_order"),
        ("tuner/execution/test_failures.py", "test_a_driver_that_stood_still_itself_blames_no_run"),
    ],
    "a sweep is of another release": [
        ("tuner/sweep/test_saved_sweeps.py", "test_it_opens_and_is_complete"),
        ("tuner/sweep/test_saved_sweeps.py", "test_of_a_format_that_is_not_read_the_release_is_named"),
        (DISKS, "test_every_json_file_says_its_format"),
    ],
    "names that are paths": [
        ("tuner/sweep/test_folder.py", "test_names_are_of_one_pattern"),
        ("tuner/sweep/test_folder.py", "test_bad_names_are_refused"),
    ],
    "secrets in the environment": [
        (SURROUNDINGS, "test_no_secret_of_the_environment_is_printed_or_in_any_file"),
        (SURROUNDINGS, "test_other_users_cannot_enter_the_session_of_ray"),
    ],
    "modules lie in the current folder or in the home of the sweeps": [
        (SURROUNDINGS, "test_no_code_is_taken_from_the_current_folder_or_the_home"),
        ("integration/test_ui.py", "test_no_code_of_the_current_folder_or_the_home_has_run"),
        (
            "trainables/common/test_process_state.py",
            "test_python_m_tuner_takes_no_further_code_from_the_current_folder",
        ),
    ],
    "odd surroundings: long and foreign names, no HOME, a notebook's MPLBACKEND, any umask, a thread, closed streams": [
        (
            "trainables/common/test_process_state.py",
            "test_without_standard_streams_a_command_does_the_same_and_no_file_gets_their_number",
        ),
        ("trainables/common/test_process_state.py", "test_tuner_runs_without_any_standard_stream"),
        (SURROUNDINGS, "test_a_thread_launches_it_without_a_home_directory_below_long_and_foreign_names"),
        ("tuner/cluster/test_local_ray.py", "test_sockets_fit_below_it"),
        ("tuner/cluster/test_nodes.py", "test_under_any_umask_only_the_owner_can_replace_the_token"),
        ("tuner/results/pictures/test_figures.py", "test_the_backend_of_a_notebook_is_not_needed_and_stays_chosen"),
        ("tuner/execution/ray_tune/test_start.py", "test_another_thread_leaves_it_to_one_that_lasts"),
    ],
    "the environment turns Ray's authentication off": [
        ("tuner/cluster/test_local_ray.py", "test_without_a_token_it_starts_only_if_that_is_typed"),
        ("tuner/cli/test_app.py", "test_without_a_token_nothing_is_driven_unless_that_is_typed"),
        ("tuner/cluster/test_nodes.py", "test_no_node_starts_without_authentication_unless_it_is_typed"),
    ],
    "another user of the machine talks to `tuner ui`": [
        ("integration/test_ui.py", "test_another_user_gets_no_answer_but_a_refusal_from_any_socket"),
        ("integration/test_ui.py", "test_another_user_sees_neither_the_token_nor_the_home"),
        ("integration/test_ui.py", "test_no_link_leads_out_of_the_artifacts"),
        ("tuner/tracking/web/test_token_gate.py", "test_without_the_token_nothing_is_answered_but_401_in_words"),
        (
            "tuner/tracking/web/test_token_gate.py",
            "test_pages_of_another_origin_are_refused_though_the_browser_sends_the_cookie",
        ),
        ("tuner/tracking/test_confined_artifacts.py", "test_nothing_is_read_written_or_deleted_through_a_link"),
        (
            "tuner/sweep/test_folder.py",
            "test_a_home_that_it_makes_is_closed_to_other_users_and_one_that_is_there_stays_as_it_is",
        ),
    ],
    "a home is moved or copied, then written to MLflow": [
        ("tuner/tracking/test_artifacts.py", "test_after_a_move_they_are_found_and_written_in_the_new_place"),
        ("tuner/tracking/test_artifacts.py", "test_a_copy_leaves_the_original_as_it_was"),
        ("tuner/tracking/test_artifacts.py", "test_files_that_are_missing_there_are_sent_again"),
    ],
    "the port of `tuner ui` is taken": [
        ("tuner/tracking/web/test_listener.py", "test_a_taken_port_is_refused_where_it_was_asked_for"),
        ("integration/test_ui.py", "test_where_the_usual_port_is_taken_it_says_which_it_has"),
    ],
    "bundles and checkpoints of strangers": [
        ("trainables/networks/test_state_dicts.py", "test_hostile_files_cost_no_more_than_a_network"),
        ("trainables/storage/test_checkpoint.py", "test_a_pickle_with_the_right_checksum_is_refused"),
    ],
    "weights or logits are not finite": [
        ("trainables/networks/test_state_dicts.py", "test_weights_that_are_not_finite_are_named"),
        ("trainables/networks/test_bundle.py", "test_weights_that_are_not_finite_are_named"),
        ("trainables/evaluation/test_accuracy.py", "test_a_logit_that_is_not_finite_is_a_wrong_answer"),
        ("trainables/evaluation/test_accuracy.py", "test_a_gradient_that_is_nan_leaves_every_number_finite"),
        (EVALUATE, "test_weights_that_are_not_finite_are_refused_by_name"),
    ],
    "a bundle or file of weights is a pipe, a device, a bomb, huge, or of another run": [
        ("trainables/networks/test_state_dicts.py", "test_hostile_files_cost_no_more_than_a_network"),
        ("trainables/networks/test_bundle.py", "test_a_damaged_file_is_an_error_that_names_the_folder"),
        (EVALUATE, "test_a_pipe_in_place_of_any_file"),
        (EVALUATE, "test_a_number_of_threads_that_no_machine_has"),
        ("trainables/storage/test_bundle_files.py", "test_whatever_lies_there_now_is_said_at_once"),
        (EVALUATE, "test_weights_of_another_bundle_are_noticed"),
    ],
    "escape codes in the names of tensors and files, and in what a run raises": [
        ("tuner/results/test_frames.py", "test_no_code_for_a_terminal_is_in_csv"),
        (EVALUATE, "test_no_escape_code_of_a_file_reaches_the_terminal"),
        ("trainables/networks/test_state_dicts.py", "test_no_escape_code_reaches_a_message"),
    ],
    "a network was trained on images normalised otherwise, or is not what its file states": [
        ("trainables/judging/test_plausibility.py", "test_a_net_of_normalised_images_is_said_to_be_one"),
        ("trainables/judging/test_plausibility.py", "test_far_below_what_the_file_states"),
    ],
    "the driver is killed while MLflow's database is made": [
        ("tuner/tracking/test_server.py", "test_one_whose_making_is_killed_is_made_anew")
    ],
    "another user asks the sockets of a sweep and of a cluster": [
        ("integration/test_doors.py", "test_nobody_gets_an_answer_from_a_sweep_and_a_cluster")
    ],
}
TESTS = sorted({test for tests in FAULTS.values() for test in tests})


@pytest.mark.parametrize(("path", "name"), TESTS, ids=lambda value: value)
def test_the_test_of_a_fault_is_there(path, name):
    tree = ast.parse((ROOT / path).read_text())
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
