//! The vectors' files. A test sees to it that none is forgotten.

/// Names and contents.
pub(super) const FILES: [(&str, &str); 53] = [
    ("a_500_is_not_retried", include_str!("../../tests/vectors/a_500_is_not_retried.json")),
    ("a_breaker_guards_its_own_instance", include_str!("../../tests/vectors/a_breaker_guards_its_own_instance.json")),
    ("a_client_error_is_no_failure", include_str!("../../tests/vectors/a_client_error_is_no_failure.json")),
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
    ("a_get_is_retried_on_503", include_str!("../../tests/vectors/a_get_is_retried_on_503.json")),
    ("a_malformed_answer_is_told", include_str!("../../tests/vectors/a_malformed_answer_is_told.json")),
    ("a_mirror_does_no_harm", include_str!("../../tests/vectors/a_mirror_does_no_harm.json")),
    ("a_mirror_gets_copies", include_str!("../../tests/vectors/a_mirror_gets_copies.json")),
    ("a_mirror_of_the_dead_does_no_harm", include_str!("../../tests/vectors/a_mirror_of_the_dead_does_no_harm.json")),
    ("a_post_is_not_retried_on_503", include_str!("../../tests/vectors/a_post_is_not_retried_on_503.json")),
    ("a_post_that_hangs_is_not_repeated", include_str!("../../tests/vectors/a_post_that_hangs_is_not_repeated.json")),
    (
        "a_post_with_a_key_is_retried_on_504",
        include_str!("../../tests/vectors/a_post_with_a_key_is_retried_on_504.json"),
    ),
    ("a_probe_that_fails_opens_it_again", include_str!("../../tests/vectors/a_probe_that_fails_opens_it_again.json")),
    ("a_reset_get_goes_to_another", include_str!("../../tests/vectors/a_reset_get_goes_to_another.json")),
    ("a_reset_post_is_told", include_str!("../../tests/vectors/a_reset_post_is_told.json")),
    (
        "a_retry_leaves_a_version_that_has_nobody_left",
        include_str!("../../tests/vectors/a_retry_leaves_a_version_that_has_nobody_left.json"),
    ),
    ("a_retry_stays_in_its_version", include_str!("../../tests/vectors/a_retry_stays_in_its_version.json")),
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
    ("a_timeout_is_a_failure", include_str!("../../tests/vectors/a_timeout_is_a_failure.json")),
    ("a_version_has_its_turns", include_str!("../../tests/vectors/a_version_has_its_turns.json")),
    ("all_dead", include_str!("../../tests/vectors/all_dead.json")),
    ("an_answer_is_passed_on", include_str!("../../tests/vectors/an_answer_is_passed_on.json")),
    ("an_attempt_has_its_own_timeout", include_str!("../../tests/vectors/an_attempt_has_its_own_timeout.json")),
    (
        "an_unhealthy_instance_gets_nothing_beside_a_healthy_one",
        include_str!("../../tests/vectors/an_unhealthy_instance_gets_nothing_beside_a_healthy_one.json"),
    ),
    (
        "an_unhealthy_version_gets_nothing_beside_a_healthy_one",
        include_str!("../../tests/vectors/an_unhealthy_version_gets_nothing_beside_a_healthy_one.json"),
    ),
    ("no_instance", include_str!("../../tests/vectors/no_instance.json")),
    ("only_draining_is_nobody", include_str!("../../tests/vectors/only_draining_is_nobody.json")),
    (
        "probes_that_succeed_close_the_breaker",
        include_str!("../../tests/vectors/probes_that_succeed_close_the_breaker.json"),
    ),
    ("slow_answers_open_the_breaker", include_str!("../../tests/vectors/slow_answers_open_the_breaker.json")),
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
        "without_a_retry_policy_there_is_one_attempt",
        include_str!("../../tests/vectors/without_a_retry_policy_there_is_one_attempt.json"),
    ),
];
