//! What goes into a chunk comes out of it, bit by bit.

use proptest::prelude::*;

use super::*;
use crate::source::STALE;

fn check(samples: &[(i64, f64)]) {
    let mut open = Open::new();
    for (at, value) in samples {
        open.push(*at, *value);
    }
    let chunk = open.sealed();
    assert_eq!(chunk.count, samples.len());
    let times = decode_times(&chunk.times, samples.len()).unwrap();
    assert_eq!(times, samples.iter().map(|(at, _)| *at).collect::<Vec<_>>());
    for order in [Order::Differences, Order::Changes] {
        let mut values = Values::new(order);
        for (_, value) in samples {
            values.push(*value);
        }
        let bytes = values.finish();
        for skipped in [0, samples.len() / 3, samples.len()] {
            let mut out = Vec::new();
            decode_values(order, &bytes, Wanted { times: &times, skipped }, &mut out).unwrap();
            let read: Vec<_> = out.iter().map(|sample| (sample.at_ms, sample.value.to_bits())).collect();
            let wanted = samples[skipped..].iter().map(|(at, value)| (*at, value.to_bits()));
            assert_eq!(read, wanted.collect::<Vec<_>>(), "{order:?}");
        }
    }
}

#[test]
fn special_values_keep_their_bits() {
    let odd = [STALE, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, f64::MIN, f64::MAX, 5e-324];
    let numbers = [9_007_199_254_740_993.0, -9_007_199_254_740_992.0, 1e18, 0.1, 0.25, 1.5, 1e-9, 123_456.789, 2.0];
    let values: Vec<_> = odd.into_iter().chain(numbers).collect();
    let mut samples = Vec::new();
    for first in &values {
        for second in &values {
            samples.extend([*first, *second, *second]);
        }
    }
    for values in samples.chunks(1000) {
        let samples = values.iter().enumerate().map(|(at, value)| (i64::try_from(at).unwrap(), *value));
        check(&samples.collect::<Vec<_>>());
    }
}

#[test]
fn what_stands_still_or_grows_evenly_takes_next_to_nothing() {
    let size = |value: &dyn Fn(u32) -> f64, order| {
        let mut values = Values::new(order);
        (0..1440).for_each(|at| values.push(value(at)));
        values.finish().len()
    };
    assert!(size(&|_| 17.5, Order::Differences) < 12);
    assert!(size(&|at| f64::from(at) * 500.0, Order::Changes) < 12);
    assert!(size(&|at| f64::from(at * at % 7), Order::Differences) <= 1440);
    // Seconds, counted in microseconds.
    assert!(size(&|at| f64::from(at * 1013) / 1e6, Order::Differences) < 1440 * 3);
}

#[test]
fn cut_and_damaged_columns_are_refused_or_give_something_and_never_panic() {
    let mut open = Open::new();
    (0..100_u32).for_each(|at| open.push(i64::from(at * at), f64::from(at % 9) / 4.0));
    let chunk = open.sealed();
    let times = decode_times(&chunk.times, 100).unwrap();
    for length in 0..chunk.times.len() {
        assert!(decode_times(&chunk.times[..length], 100).is_err());
    }
    for at in 0..chunk.values.len() {
        for bit in 0..8 {
            let mut values = chunk.values.to_vec();
            values[at] ^= 1 << bit;
            let wanted = Wanted { times: &times, skipped: 0 };
            let read = decode_values(Order::Changes, &values, wanted, &mut Vec::new());
            let read_cut = decode_values(Order::Differences, &values[..at], wanted, &mut Vec::new());
            assert!([read, read_cut].iter().all(|read| matches!(read, Ok(()) | Err(Corrupt))));
        }
    }
    for count in [0, 99, 101, CHUNK_SAMPLES_MAX + 1] {
        assert!(decode_times(&chunk.times, count).is_err());
    }
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (0_u32..10).prop_map(f64::from),
        2 => any::<u32>().prop_map(f64::from),
        2 => (any::<i32>(), 0_i32..10).prop_map(|(number, digits)| f64::from(number) / 10_f64.powi(digits)),
        1 => any::<i64>().prop_map(|number| {
            #[expect(clippy::cast_precision_loss, reason = "any value will do")]
            let value = number as f64;
            value
        }),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => Just(STALE),
    ]
}

proptest! {
    #[test]
    fn any_values_at_any_times_come_back(samples in prop::collection::vec((any::<i64>(), value()), 1..200)) {
        check(&samples);
    }

    #[test]
    fn runs_come_back(runs in prop::collection::vec((value(), 1_usize..50, 0_u32..3), 1..30)) {
        let mut samples = Vec::new();
        let mut at = 1_700_000_000_000;
        for (value, count, step) in runs {
            for number in 0..count.min(CHUNK_SAMPLES_MAX / 50) {
                at += 5000;
                samples.push((at, value + f64::from(step) * f64::from(u32::try_from(number).unwrap())));
            }
        }
        check(&samples);
    }
}
