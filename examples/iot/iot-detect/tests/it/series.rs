//! One series each: what is told of it, and what is not.

use iot_detect::{Change, DAY_MS, Detector, Event, HOUR_MS, Kind, Season, Settings};

const STEP_MS: i64 = 300_000;

#[expect(clippy::cast_precision_loss, reason = "they are a few days")]
fn days(span_ms: i64) -> f64 {
    span_ms as f64 / DAY_MS as f64
}

/// A curve of a day, and noise that is the same each time.
fn usual(at_ms: i64) -> f64 {
    let mixed = (at_ms / STEP_MS).unsigned_abs().wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let noise = f64::from(u16::try_from(mixed >> 48).unwrap()) / 65_536.0 - 0.5;
    20.0 + 4.0 * (days(at_ms % DAY_MS) * std::f64::consts::TAU).sin() + noise
}

/// Lets a detector of equal days see readings from hour to hour.
fn see(detector: &mut Detector, hours: std::ops::Range<i64>, value: impl Fn(i64) -> f64) -> Vec<Event> {
    let times = (hours.start * HOUR_MS..hours.end * HOUR_MS).step_by(300_000);
    times.flat_map(|at_ms| detector.observe(at_ms, value(at_ms))).collect()
}

/// A detector that has learned for so many days, and told nothing.
fn learned(days: i64) -> Detector {
    let mut detector = Detector::new(Settings { season: Season::Daily, resolution: 0.01 });
    assert_eq!(see(&mut detector, 0..24 * days, usual), []);
    detector
}

fn begun(events: &[Event]) -> Vec<Kind> {
    events.iter().filter(|event| event.change == Change::Began).map(|event| event.kind).collect()
}

#[test]
fn a_spike_is_told_once_with_what_was_expected_and_ends() {
    let mut detector = learned(5);
    let at_ms = 120 * HOUR_MS;
    let events = detector.observe(at_ms, usual(at_ms) + 9.0);
    assert_eq!(begun(&events), [Kind::Spike]);
    let (value, expected) = (events[0].value.unwrap(), events[0].expected.unwrap());
    assert!(events[0].score > 1.0 && (value - expected - 9.0).abs() < 1.0, "{events:?}");
    assert_eq!(detector.open().collect::<Vec<_>>(), [Kind::Spike]);
    let after = see(&mut detector, 120..126, usual);
    assert_eq!(after.iter().map(|event| event.change).collect::<Vec<_>>(), [Change::Ended]);
    assert_eq!(detector.open().count(), 0);
}

#[test]
fn a_sensor_that_is_stuck_and_one_that_drifts_are_told() {
    for resolution in [0.01, 0.0] {
        let mut detector = Detector::new(Settings { season: Season::Daily, resolution });
        see(&mut detector, 0..120, usual);
        let stuck = see(&mut detector, 120..122, |_| 20.3);
        let told = stuck.iter().find(|event| event.kind == Kind::Stuck).unwrap();
        assert_eq!(told.at_ms, 120 * HOUR_MS + 11 * STEP_MS);
    }

    let mut detector = learned(5);
    let drift = |at_ms: i64| usual(at_ms) + 3.0 * days(at_ms - 5 * DAY_MS);
    let kinds = begun(&see(&mut detector, 120..144, drift));
    assert!(kinds.contains(&Kind::Drift), "{kinds:?}");
}

#[test]
fn silence_is_a_dropout_when_it_is_due_and_over_with_the_next_reading() {
    let mut detector = learned(1);
    let last_ms = DAY_MS - STEP_MS;
    let due_ms = detector.dropout_at_ms().unwrap();
    assert_eq!(due_ms, last_ms + 4 * STEP_MS);
    assert_eq!(detector.tick(due_ms - 1), []);
    let told = detector.tick(due_ms + DAY_MS);
    assert_eq!((told[0].kind, told[0].change, told[0].at_ms), (Kind::Dropout, Change::Began, due_ms));
    assert_eq!((detector.tick(due_ms + 2 * DAY_MS), detector.dropout_at_ms()), (vec![], None));
    let back = detector.observe(due_ms + 3 * DAY_MS, 20.0);
    assert_eq!((back[0].kind, back[0].change), (Kind::Dropout, Change::Ended));

    // Who is not ticked is told with the reading that ends it.
    let mut detector = learned(1);
    let told = detector.observe(last_ms + 4 * HOUR_MS, 20.0);
    assert_eq!(told.iter().map(|event| event.at_ms).collect::<Vec<_>>(), [due_ms, last_ms + 4 * HOUR_MS]);
}

#[test]
fn a_lasting_level_is_a_few_episodes_and_then_usual() {
    let mut detector = learned(10);
    let kinds = begun(&see(&mut detector, 240..480, |at_ms| usual(at_ms) + 5.0));
    assert_eq!(kinds.iter().filter(|kind| **kind == Kind::Drift).count(), 1, "{kinds:?}");
    assert!(kinds.len() <= 5, "{kinds:?}");
    assert_eq!(detector.open().count(), 0, "after ten days of it");
    assert_eq!(see(&mut detector, 480..500, |at_ms| usual(at_ms) + 5.0), []);
}

#[test]
fn a_sensor_that_rests_each_night_is_not_stuck() {
    let resting = |at_ms: i64| if at_ms % DAY_MS < 8 * HOUR_MS { 0.0 } else { usual(at_ms) };
    let mut detector = Detector::new(Settings { season: Season::Daily, resolution: 0.01 });
    let kinds = begun(&see(&mut detector, 0..24 * 10, resting));
    assert!(!kinds.contains(&Kind::Stuck), "{kinds:?}");
}

#[test]
fn an_edge_in_each_day_is_usual_and_none_is_not() {
    let edged = |at_ms: i64| if (9..18).contains(&(at_ms % DAY_MS / HOUR_MS)) { 80.0 } else { 20.0 };
    let mut detector = Detector::new(Settings { season: Season::Daily, resolution: 0.01 });
    see(&mut detector, 0..120, edged);
    assert_eq!(see(&mut detector, 120..240, edged), []);
    let kinds = begun(&see(&mut detector, 240..264, |_| 20.0));
    assert!(kinds.contains(&Kind::Shift), "{kinds:?}");
}

#[test]
fn what_comes_late_or_twice_or_is_no_number_changes_nothing() {
    let mut detector = learned(5);
    let before = detector.state().clone();
    for (at_ms, value) in [(DAY_MS, 99.0), (120 * HOUR_MS - STEP_MS, 99.0), (120 * HOUR_MS, f64::NAN)] {
        assert_eq!(detector.observe(at_ms, value), []);
    }
    assert_eq!(*detector.state(), before);
}
