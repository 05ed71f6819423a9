//! What holds for every series: state survives being kept, stays small, and nothing panics.

use iot_detect::{
    Detector, Event, Season, Settings, State, StateError,
    generator::{Device, Plan},
};
use proptest::prelude::*;

/// The most that a state may take as JSON.
const STATE_BYTES_MAX: usize = 24 * 1024;

fn kept(settings: Settings, detector: &Detector) -> Detector {
    let text = serde_json::to_string(detector.state()).unwrap();
    assert!(text.len() <= STATE_BYTES_MAX, "{} bytes", text.len());
    let state: State = serde_json::from_str(&text).unwrap();
    assert_eq!(state, *detector.state());
    Detector::restore(settings, state).unwrap()
}

fn any_season() -> impl Strategy<Value = Season> {
    prop_oneof![Just(Season::Daily), Just(Season::Weekly)]
}

/// Any bits, and values that are near each other.
fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), -40.0..60.0, Just(20.0), Just(1e300), Just(f64::NAN)]
}

/// Steps of time, forwards and backwards, of usual and of all sizes.
fn any_step() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 1_i64..1_000_000, 2 => -1_000_000_i64..100_000_000, 1 => any::<i64>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_panics_and_what_is_kept_goes_on_as_it_was(
        season in any_season(),
        resolution in any::<f64>(),
        start in any::<i64>(),
        readings in prop::collection::vec((any_step(), any_value(), any::<bool>()), 0..400),
    ) {
        let settings = Settings { season, resolution };
        let mut detector = Detector::new(settings);
        let mut at_ms = start;
        for (index, (step, value, is_ticked)) in readings.into_iter().enumerate() {
            at_ms = at_ms.wrapping_add(step);
            let mut other = if index % 50 == 7 { kept(settings, &detector) } else { detector.clone() };
            let observe = |detector: &mut Detector| -> Vec<Event> {
                let mut events = if is_ticked { detector.tick(at_ms) } else { Vec::new() };
                events.extend(detector.observe(at_ms, value));
                events
            };
            prop_assert_eq!(observe(&mut detector), observe(&mut other));
            prop_assert_eq!(detector.state(), other.state());
        }
        kept(settings, &detector);
    }

    #[test]
    fn states_that_others_wrote_are_refused_or_borne(at in 0_usize..4000, digit in 0_u8..10, value in any_value()) {
        let settings = Settings { season: Season::Daily, ..Settings::default() };
        let mut detector = Detector::new(settings);
        for reading in Device::new(1, 1, Plan::of_equal_days(5)) {
            detector.observe(reading.at_ms, reading.value);
        }
        let mut text = serde_json::to_string(detector.state()).unwrap().into_bytes();
        // Another digit, or a number that is none any more, or far greater.
        let at = (at..text.len()).find(|at| text[*at].is_ascii_digit()).unwrap_or(1);
        text[at] = b'0' + digit;
        if digit % 2 == 0 {
            text.splice(at..at, *b"1e9");
        }
        let Ok(state) = serde_json::from_slice::<State>(&text) else { return Ok(()) };
        let Ok(mut detector) = Detector::restore(settings, state) else { return Ok(()) };
        for minutes in 0..3000 {
            detector.observe(1_768_003_200_000 + minutes * 60_000, value);
        }
    }
}

/// However long and however fast it is read, it holds no more.
#[test]
fn a_state_is_small_after_months() {
    for (interval_ms, days) in [(300_000, 120), (20_000, 5)] {
        let settings = Settings::default();
        let mut detector = Detector::new(settings);
        let plan = Plan { interval_ms, days, ..Plan::default() };
        for reading in Device::new(5, 1, plan) {
            detector.observe(reading.at_ms, reading.value);
        }
        let text = serde_json::to_string(detector.state()).unwrap();
        println!("{days} days, one reading in {interval_ms} ms: {} bytes", text.len());
        kept(settings, &detector);
    }
}

#[test]
fn a_state_of_another_format_or_season_is_refused() {
    let detector = Detector::new(Settings::default());
    let text = serde_json::to_string(detector.state()).unwrap();
    let other: State = serde_json::from_str(&text.replace("\"format\":1", "\"format\":2")).unwrap();
    assert_eq!(Detector::restore(Settings::default(), other).unwrap_err(), StateError::Format { found: 2 });
    let daily = Settings { season: Season::Daily, ..Settings::default() };
    assert_eq!(Detector::restore(daily, detector.state().clone()).unwrap_err(), StateError::Form);
}
