//! What the features are of histories that are small enough to be counted by hand.

use super::*;

/// Wednesday, 2026-01-07, noon.
const NOW: i64 = 1_767_571_200_000 + 2 * DAY_MS + 12 * HOUR_MS;

fn paid(ago_ms: i64, amount: i64, is_to_payee: bool) -> Paid {
    Paid { at_ms: NOW - ago_ms, amount, is_to_payee }
}

fn received(ago_ms: i64, is_flagged: bool) -> Received {
    Received { at_ms: NOW - ago_ms, is_flagged }
}

#[track_caller]
fn assert_near(value: f32, expect: f32) {
    assert!((value - expect).abs() <= expect.abs() * 1e-6, "{value}, not {expect}");
}

#[test]
fn a_first_transfer_is_alone() {
    let features = Features::of(NOW, 500, [], []);
    for (name, value) in NAMES.iter().zip(features.row()) {
        let expect = match *name {
            "amount" | "sum_1h" | "sum_24h" | "sum_7d" | "sum_30d" => 500.0,
            "count_1h" | "count_24h" | "count_7d" | "count_30d" | "amount_to_mean" => 1.0,
            "since_last_s" => 30.0 * 86_400.0,
            _ => 0.0,
        };
        assert!((value - expect).abs() < f32::EPSILON, "{name}: {value}, not {expect}");
    }
}

#[test]
fn what_the_payer_did_counts_by_its_age() {
    let minute = HOUR_MS / 60;
    let history = [
        paid(-minute, 7, true),
        paid(10 * minute, 100, true),
        paid(HOUR_MS, 200, false),
        paid(2 * DAY_MS, 300, true),
        paid(29 * DAY_MS, 400, false),
        paid(MEMORY_MS, 9_000, true),
    ];
    let features = Features::of(NOW, 500, history, []);
    let Features { count_1h, sum_1h, count_24h, sum_24h, count_7d, sum_7d, count_30d, sum_30d, .. } = features;
    for (value, expect) in [
        (count_1h, 2.0),
        (sum_1h, 600.0),
        (count_24h, 3.0),
        (sum_24h, 800.0),
        (count_7d, 4.0),
        (sum_7d, 1_100.0),
        (count_30d, 5.0),
        (sum_30d, 1_500.0),
        (features.amount_to_mean, 2.0),
        (features.since_last_s, 600.0),
        (features.count_to_payee, 2.0),
    ] {
        assert_near(value, expect);
    }
}

/// A label is known after a week: what is newer may not be looked at, in training as little as in serving.
#[test]
fn what_the_payee_got_counts_once_it_is_known() {
    let history = [
        received(DAY_MS, true),
        received(DELAY_MS - 1, true),
        received(DELAY_MS, true),
        received(DELAY_MS + 2 * DAY_MS, false),
        received(DELAY_MS + 20 * DAY_MS, false),
        received(DELAY_MS + 21 * DAY_MS, true),
        received(PAYEE_MEMORY_MS, true),
    ];
    let features = Features::of(NOW, 500, [], history);
    for (value, expect) in [
        (features.payee_count_1d, 1.0),
        (features.payee_risk_1d, 1.0),
        (features.payee_count_7d, 2.0),
        (features.payee_risk_7d, 0.5),
        (features.payee_count_30d, 4.0),
        (features.payee_risk_30d, 0.5),
    ] {
        assert_near(value, expect);
    }
}

#[test]
fn nights_and_weekends_are_by_utc() {
    for (at_ms, is_night, is_weekend) in [
        (NOW, 0.0, 0.0),
        (NOW - 12 * HOUR_MS, 1.0, 0.0),
        (NOW - 6 * HOUR_MS - 1, 1.0, 0.0),
        (NOW - 6 * HOUR_MS, 0.0, 0.0),
        (NOW + 3 * DAY_MS, 0.0, 1.0),
        (NOW + 4 * DAY_MS, 0.0, 1.0),
        (NOW + 5 * DAY_MS, 0.0, 0.0),
    ] {
        let features = Features::of(at_ms, 1, [], []);
        assert_near(features.is_night, is_night);
        assert_near(features.is_weekend, is_weekend);
    }
}

#[test]
fn a_busy_account_counts_up_to_a_bound_and_the_largest_amounts_do_not_overflow() {
    let busy = (0..2_000).map(|ago| paid(ago, 1_000_000_000_000, true));
    let got = (0..2_000).map(|ago| received(DELAY_MS + ago, true));
    let features = Features::of(NOW, 1_000_000_000_000, busy, got);
    assert_near(features.count_1h, 501.0);
    assert_near(features.sum_1h, 501e12);
    assert_near(features.payee_count_1d, 500.0);
}

#[test]
fn names_are_those_of_the_document() {
    let features = Features::of(NOW, 500, [], []);
    let value = serde_json::to_value(&features).unwrap();
    let object = value.as_object().unwrap();
    assert_eq!(object.len(), COUNT);
    assert!(NAMES.iter().all(|name| object.contains_key(*name)));
    let again: Features = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(again, features);
    let mut more = value;
    more["colour"] = 1.into();
    assert!(serde_json::from_value::<Features>(more).is_err());
}
