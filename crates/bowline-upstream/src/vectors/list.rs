//! The vectors' files. A test sees to it that none is forgotten.

/// Names and contents.
pub(super) const FILES: [(&str, &str); 110] = [
    (
        "a_429_is_a_failure_where_the_policy_says_so",
        include_str!("../../tests/vectors/a_429_is_a_failure_where_the_policy_says_so.json"),
    ),
    ("a_429_with_retry_after_binds_all", include_str!("../../tests/vectors/a_429_with_retry_after_binds_all.json")),
    (
        "a_500_is_no_failure_where_the_policy_names_others",
        include_str!("../../tests/vectors/a_500_is_no_failure_where_the_policy_names_others.json"),
    ),
    ("a_500_is_not_retried", include_str!("../../tests/vectors/a_500_is_not_retried.json")),
    (
        "a_503_is_not_retried_where_the_policy_names_others",
        include_str!("../../tests/vectors/a_503_is_not_retried_where_the_policy_names_others.json"),
    ),
    ("a_breaker_guards_its_own_instance", include_str!("../../tests/vectors/a_breaker_guards_its_own_instance.json")),
    (
        "a_breaker_of_a_key_leaves_other_keys_alone",
        include_str!("../../tests/vectors/a_breaker_of_a_key_leaves_other_keys_alone.json"),
    ),
    (
        "a_breaker_of_a_route_bears_one_bad_instance_among_three",
        include_str!("../../tests/vectors/a_breaker_of_a_route_bears_one_bad_instance_among_three.json"),
    ),
    (
        "a_breaker_of_a_route_guards_all_its_instances",
        include_str!("../../tests/vectors/a_breaker_of_a_route_guards_all_its_instances.json"),
    ),
    ("a_bulkhead_lets_wait_who_may", include_str!("../../tests/vectors/a_bulkhead_lets_wait_who_may.json")),
    (
        "a_bulkhead_refuses_what_is_above_it",
        include_str!("../../tests/vectors/a_bulkhead_refuses_what_is_above_it.json"),
    ),
    ("a_client_error_is_no_failure", include_str!("../../tests/vectors/a_client_error_is_no_failure.json")),
    (
        "a_code_of_grpc_that_is_the_callers_fault_is_no_failure",
        include_str!("../../tests/vectors/a_code_of_grpc_that_is_the_callers_fault_is_no_failure.json"),
    ),
    (
        "a_crash_is_not_seen_with_least_connections",
        include_str!("../../tests/vectors/a_crash_is_not_seen_with_least_connections.json"),
    ),
    ("a_crash_is_not_seen_with_p2c_ewma", include_str!("../../tests/vectors/a_crash_is_not_seen_with_p2c_ewma.json")),
    ("a_crash_is_not_seen_with_random", include_str!("../../tests/vectors/a_crash_is_not_seen_with_random.json")),
    (
        "a_crash_is_not_seen_with_round_robin",
        include_str!("../../tests/vectors/a_crash_is_not_seen_with_round_robin.json"),
    ),
    ("a_crash_is_not_seen_with_weighted", include_str!("../../tests/vectors/a_crash_is_not_seen_with_weighted.json")),
    (
        "a_dead_instance_is_skipped_by_any_method",
        include_str!("../../tests/vectors/a_dead_instance_is_skipped_by_any_method.json"),
    ),
    ("a_dead_instance_opens_its_breaker", include_str!("../../tests/vectors/a_dead_instance_opens_its_breaker.json")),
    ("a_dead_version_is_not_seen", include_str!("../../tests/vectors/a_dead_version_is_not_seen.json")),
    ("a_draining_instance_gets_nothing", include_str!("../../tests/vectors/a_draining_instance_gets_nothing.json")),
    (
        "a_failure_is_told_rather_than_the_breaker_it_opened",
        include_str!("../../tests/vectors/a_failure_is_told_rather_than_the_breaker_it_opened.json"),
    ),
    ("a_fallback_comes_after_the_retries", include_str!("../../tests/vectors/a_fallback_comes_after_the_retries.json")),
    ("a_fallback_is_given_for_a_failure", include_str!("../../tests/vectors/a_fallback_is_given_for_a_failure.json")),
    (
        "a_fallback_is_given_where_nobody_can_be_reached",
        include_str!("../../tests/vectors/a_fallback_is_given_where_nobody_can_be_reached.json"),
    ),
    (
        "a_fallback_is_given_where_the_breaker_is_open",
        include_str!("../../tests/vectors/a_fallback_is_given_where_the_breaker_is_open.json"),
    ),
    ("a_fast_answer_is_not_hedged", include_str!("../../tests/vectors/a_fast_answer_is_not_hedged.json")),
    ("a_get_is_retried_on_503", include_str!("../../tests/vectors/a_get_is_retried_on_503.json")),
    ("a_good_answer_needs_no_fallback", include_str!("../../tests/vectors/a_good_answer_needs_no_fallback.json")),
    (
        "a_hedged_call_takes_the_first_good_answer",
        include_str!("../../tests/vectors/a_hedged_call_takes_the_first_good_answer.json"),
    ),
    ("a_malformed_answer_is_told", include_str!("../../tests/vectors/a_malformed_answer_is_told.json")),
    ("a_mirror_does_no_harm", include_str!("../../tests/vectors/a_mirror_does_no_harm.json")),
    ("a_mirror_gets_copies", include_str!("../../tests/vectors/a_mirror_gets_copies.json")),
    ("a_mirror_of_the_dead_does_no_harm", include_str!("../../tests/vectors/a_mirror_of_the_dead_does_no_harm.json")),
    (
        "a_negative_pushback_forbids_the_retry",
        include_str!("../../tests/vectors/a_negative_pushback_forbids_the_retry.json"),
    ),
    ("a_post_is_not_hedged", include_str!("../../tests/vectors/a_post_is_not_hedged.json")),
    ("a_post_is_not_retried_on_503", include_str!("../../tests/vectors/a_post_is_not_retried_on_503.json")),
    (
        "a_post_is_retried_where_all_may_be_repeated",
        include_str!("../../tests/vectors/a_post_is_retried_where_all_may_be_repeated.json"),
    ),
    ("a_post_that_hangs_is_not_repeated", include_str!("../../tests/vectors/a_post_that_hangs_is_not_repeated.json")),
    (
        "a_post_with_a_key_is_retried_on_504",
        include_str!("../../tests/vectors/a_post_with_a_key_is_retried_on_504.json"),
    ),
    ("a_probe_that_fails_opens_it_again", include_str!("../../tests/vectors/a_probe_that_fails_opens_it_again.json")),
    ("a_pushback_of_grpc_is_heeded", include_str!("../../tests/vectors/a_pushback_of_grpc_is_heeded.json")),
    ("a_reset_get_goes_to_another", include_str!("../../tests/vectors/a_reset_get_goes_to_another.json")),
    ("a_reset_post_is_told", include_str!("../../tests/vectors/a_reset_post_is_told.json")),
    (
        "a_retry_after_beyond_the_deadline_ends_the_retries",
        include_str!("../../tests/vectors/a_retry_after_beyond_the_deadline_ends_the_retries.json"),
    ),
    ("a_retry_after_is_waited_for", include_str!("../../tests/vectors/a_retry_after_is_waited_for.json")),
    (
        "a_retry_after_of_one_instance_does_not_bind_another",
        include_str!("../../tests/vectors/a_retry_after_of_one_instance_does_not_bind_another.json"),
    ),
    (
        "a_retry_leaves_a_version_that_has_nobody_left",
        include_str!("../../tests/vectors/a_retry_leaves_a_version_that_has_nobody_left.json"),
    ),
    ("a_retry_stays_in_its_version", include_str!("../../tests/vectors/a_retry_stays_in_its_version.json")),
    ("a_slow_answer_is_hedged", include_str!("../../tests/vectors/a_slow_answer_is_hedged.json")),
    (
        "a_slow_call_is_no_failure_where_it_has_a_rate",
        include_str!("../../tests/vectors/a_slow_call_is_no_failure_where_it_has_a_rate.json"),
    ),
    ("a_small_body_is_sent_again", include_str!("../../tests/vectors/a_small_body_is_sent_again.json")),
    ("a_split_leaves_others_out", include_str!("../../tests/vectors/a_split_leaves_others_out.json")),
    (
        "a_split_without_anybody_is_no_instance",
        include_str!("../../tests/vectors/a_split_without_anybody_is_no_instance.json"),
    ),
    ("a_streamed_body_is_not_sent_twice", include_str!("../../tests/vectors/a_streamed_body_is_not_sent_twice.json")),
    (
        "a_streamed_body_survives_a_dead_instance",
        include_str!("../../tests/vectors/a_streamed_body_survives_a_dead_instance.json"),
    ),
    ("a_success_ends_a_row", include_str!("../../tests/vectors/a_success_ends_a_row.json")),
    ("a_timeout_is_a_failure", include_str!("../../tests/vectors/a_timeout_is_a_failure.json")),
    ("a_version_has_its_turns", include_str!("../../tests/vectors/a_version_has_its_turns.json")),
    (
        "a_window_of_calls_is_not_judged_before_it_has_enough",
        include_str!("../../tests/vectors/a_window_of_calls_is_not_judged_before_it_has_enough.json"),
    ),
    (
        "a_window_of_calls_looks_back_upon_the_last",
        include_str!("../../tests/vectors/a_window_of_calls_looks_back_upon_the_last.json"),
    ),
    ("all_dead", include_str!("../../tests/vectors/all_dead.json")),
    ("an_answer_is_passed_on", include_str!("../../tests/vectors/an_answer_is_passed_on.json")),
    (
        "an_answer_is_retried_where_the_policy_names_it",
        include_str!("../../tests/vectors/an_answer_is_retried_where_the_policy_names_it.json"),
    ),
    ("an_attempt_has_its_own_timeout", include_str!("../../tests/vectors/an_attempt_has_its_own_timeout.json")),
    (
        "an_ejected_instance_comes_back_when_its_time_is_over",
        include_str!("../../tests/vectors/an_ejected_instance_comes_back_when_its_time_is_over.json"),
    ),
    (
        "an_ignored_answer_counts_as_nothing",
        include_str!("../../tests/vectors/an_ignored_answer_counts_as_nothing.json"),
    ),
    (
        "an_ignored_probe_gives_its_place_back",
        include_str!("../../tests/vectors/an_ignored_probe_gives_its_place_back.json"),
    ),
    (
        "an_unhealthy_instance_gets_nothing_beside_a_healthy_one",
        include_str!("../../tests/vectors/an_unhealthy_instance_gets_nothing_beside_a_healthy_one.json"),
    ),
    (
        "an_unhealthy_version_gets_nothing_beside_a_healthy_one",
        include_str!("../../tests/vectors/an_unhealthy_version_gets_nothing_beside_a_healthy_one.json"),
    ),
    (
        "failures_in_a_row_eject_an_instance",
        include_str!("../../tests/vectors/failures_in_a_row_eject_an_instance.json"),
    ),
    ("failures_in_a_row_open_the_breaker", include_str!("../../tests/vectors/failures_in_a_row_open_the_breaker.json")),
    ("failures_of_grpc_open_the_breaker", include_str!("../../tests/vectors/failures_of_grpc_open_the_breaker.json")),
    (
        "grpc_is_not_retried_on_a_code_that_is_not_named",
        include_str!("../../tests/vectors/grpc_is_not_retried_on_a_code_that_is_not_named.json"),
    ),
    (
        "grpc_is_not_retried_where_a_post_must_not_be_repeated",
        include_str!("../../tests/vectors/grpc_is_not_retried_where_a_post_must_not_be_repeated.json"),
    ),
    (
        "grpc_is_retried_on_unavailable_where_all_may_be_repeated",
        include_str!("../../tests/vectors/grpc_is_retried_on_unavailable_where_all_may_be_repeated.json"),
    ),
    ("hedges_are_bounded_by_their_budget", include_str!("../../tests/vectors/hedges_are_bounded_by_their_budget.json")),
    ("ignored_answers_eject_nobody", include_str!("../../tests/vectors/ignored_answers_eject_nobody.json")),
    (
        "maglev_goes_on_to_the_next_where_one_is_dead",
        include_str!("../../tests/vectors/maglev_goes_on_to_the_next_where_one_is_dead.json"),
    ),
    ("maglev_shares_out_what_has_no_key", include_str!("../../tests/vectors/maglev_shares_out_what_has_no_key.json")),
    (
        "maglev_takes_the_key_ada_to_one_instance",
        include_str!("../../tests/vectors/maglev_takes_the_key_ada_to_one_instance.json"),
    ),
    (
        "maglev_takes_the_key_bob_to_one_instance",
        include_str!("../../tests/vectors/maglev_takes_the_key_bob_to_one_instance.json"),
    ),
    ("no_instance", include_str!("../../tests/vectors/no_instance.json")),
    ("no_more_are_ejected_than_may_be", include_str!("../../tests/vectors/no_more_are_ejected_than_may_be.json")),
    (
        "one_failed_probe_of_several_opens_it_again",
        include_str!("../../tests/vectors/one_failed_probe_of_several_opens_it_again.json"),
    ),
    ("one_may_always_be_ejected", include_str!("../../tests/vectors/one_may_always_be_ejected.json")),
    ("only_draining_is_nobody", include_str!("../../tests/vectors/only_draining_is_nobody.json")),
    (
        "probes_that_succeed_close_the_breaker",
        include_str!("../../tests/vectors/probes_that_succeed_close_the_breaker.json"),
    ),
    (
        "ring_goes_on_to_the_next_where_one_is_dead",
        include_str!("../../tests/vectors/ring_goes_on_to_the_next_where_one_is_dead.json"),
    ),
    ("ring_shares_out_what_has_no_key", include_str!("../../tests/vectors/ring_shares_out_what_has_no_key.json")),
    (
        "ring_takes_the_key_ada_to_one_instance",
        include_str!("../../tests/vectors/ring_takes_the_key_ada_to_one_instance.json"),
    ),
    (
        "ring_takes_the_key_bob_to_one_instance",
        include_str!("../../tests/vectors/ring_takes_the_key_bob_to_one_instance.json"),
    ),
    ("slow_answers_open_the_breaker", include_str!("../../tests/vectors/slow_answers_open_the_breaker.json")),
    (
        "slow_calls_have_a_rate_of_their_own",
        include_str!("../../tests/vectors/slow_calls_have_a_rate_of_their_own.json"),
    ),
    ("the_breaker_opens", include_str!("../../tests/vectors/the_breaker_opens.json")),
    ("the_breaker_sees_every_attempt", include_str!("../../tests/vectors/the_breaker_sees_every_attempt.json")),
    ("the_breaker_waits_for_enough_calls", include_str!("../../tests/vectors/the_breaker_waits_for_enough_calls.json")),
    ("the_budget_ends_retries", include_str!("../../tests/vectors/the_budget_ends_retries.json")),
    (
        "the_callers_deadline_counts_if_it_is_earlier",
        include_str!("../../tests/vectors/the_callers_deadline_counts_if_it_is_earlier.json"),
    ),
    ("the_last_answer_stands", include_str!("../../tests/vectors/the_last_answer_stands.json")),
    (
        "the_last_failure_of_a_hedged_call_stands",
        include_str!("../../tests/vectors/the_last_failure_of_a_hedged_call_stands.json"),
    ),
    (
        "the_only_instance_is_asked_though_it_is_ejected",
        include_str!("../../tests/vectors/the_only_instance_is_asked_though_it_is_ejected.json"),
    ),
    (
        "the_third_attempt_goes_to_whom_could_be_reached",
        include_str!("../../tests/vectors/the_third_attempt_goes_to_whom_could_be_reached.json"),
    ),
    ("the_timeout_ends_the_call", include_str!("../../tests/vectors/the_timeout_ends_the_call.json")),
    ("three_probes_are_three", include_str!("../../tests/vectors/three_probes_are_three.json")),
    (
        "unhealthy_instances_are_better_than_none",
        include_str!("../../tests/vectors/unhealthy_instances_are_better_than_none.json"),
    ),
    (
        "who_waits_too_long_for_a_bulkhead_is_refused",
        include_str!("../../tests/vectors/who_waits_too_long_for_a_bulkhead_is_refused.json"),
    ),
    (
        "with_one_instance_nothing_is_hedged",
        include_str!("../../tests/vectors/with_one_instance_nothing_is_hedged.json"),
    ),
    (
        "without_a_retry_policy_there_is_one_attempt",
        include_str!("../../tests/vectors/without_a_retry_policy_there_is_one_attempt.json"),
    ),
];
