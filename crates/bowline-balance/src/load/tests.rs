//! The average over virtual time, and what each ending of a request does to it.

use std::thread;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// One request of that latency, begun at `now`.
fn request(load: &Arc<Load>, now: Instant, latency: Duration, ok: bool) -> Instant {
    let end = now + latency;
    InFlight::begin(load, now).finish(end, ok);
    end
}

fn new() -> (Arc<Load>, Instant) {
    (Arc::new(Load::new(time::now())), time::now())
}

/// Within a hundredth.
fn assert_near(found: Duration, expected: Duration) {
    let (found, expected) = (found.as_secs_f64(), expected.as_secs_f64());
    assert!((found - expected).abs() <= expected / 100.0, "{found} is not about {expected}");
}

#[test]
fn a_peak_counts_at_once_and_is_forgotten_slowly() {
    let (load, now) = new();
    let end = request(&load, now, ms(10), true);
    assert_near(load.latency(end), ms(10));
    let end = request(&load, end, ms(500), true);
    assert_near(load.latency(end), ms(500));
    // Unasked it fades to 1/e in the time constant; asked, towards what is seen.
    assert_near(load.latency(end + DECAY), Duration::from_secs_f64(0.5 / std::f64::consts::E));
    let end = request(&load, end + DECAY - ms(10), ms(10), true);
    let expected = 0.5 / std::f64::consts::E + 0.01 * (1.0 - 1.0 / std::f64::consts::E);
    assert_near(load.latency(end), Duration::from_secs_f64(expected));
}

#[test]
fn a_steady_latency_is_what_is_measured() {
    let (load, mut now) = new();
    now = request(&load, now, SECOND, true);
    for _ in 0..20_000 {
        now = request(&load, now, ms(5), true);
    }
    assert_near(load.latency(now), ms(5));
}

#[test]
fn failing_fast_is_not_being_fast() {
    let ((good, now), (bad, _)) = (new(), new());
    let now = now + SECOND;
    request(&good, now, ms(5), true);
    request(&bad, now, ms(5), true);
    let end = request(&bad, now + ms(5), Duration::ZERO, false);
    assert_near(bad.latency(end), ms(20));
    assert!(cost(&bad, end) > cost(&good, end));
    // Each further one makes it worse, up to a bound.
    let mut end = end;
    for _ in 0..100 {
        end = request(&bad, end, Duration::ZERO, false);
    }
    assert_near(bad.latency(end), FAILURE_LATENCY_MAX);
    // A failure that took longer than the bound is as slow as it was.
    let end = request(&bad, end, SECOND * 30, false);
    assert_near(bad.latency(end), SECOND * 30);
    // One failure of a member without history counts too.
    let (fresh, now) = new();
    request(&fresh, now, Duration::ZERO, false);
    assert_near(fresh.latency(now), ms(4));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_request_is_over_and_took_at_least_so_long() {
    let (load, now) = new();
    request(&load, now, ms(10), true);
    let quick = InFlight::begin(&load, now);
    let stuck = InFlight::begin(&load, now);
    assert_eq!(load.in_flight(), 2);
    time::sleep(ms(5)).await;
    drop(quick);
    assert_eq!(load.in_flight(), 1);
    assert_near(load.latency(now + ms(10)), ms(10));
    time::sleep(ms(2995)).await;
    drop(stuck);
    assert_eq!(load.in_flight(), 0);
    assert_near(load.latency(time::now()), SECOND * 3);
}

#[tokio::test(start_paused = true)]
async fn a_head_is_recorded_before_its_body_ends() {
    let (load, now) = new();
    let mut streaming = InFlight::begin(&load, now);
    streaming.record(now + ms(10), true);
    assert_near(load.latency(now + ms(10)), ms(10));
    assert_eq!(load.in_flight(), 1);
    streaming.record(now + SECOND, false);
    time::sleep(SECOND).await;
    drop(streaming);
    assert_eq!(load.in_flight(), 0);
    assert!(load.latency(now + ms(10)) <= ms(10), "the body's time is not the instance's latency");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_future_gives_its_place_back() {
    let (load, now) = new();
    let request = async {
        let _in_flight = InFlight::begin(&load, now);
        std::future::pending::<()>().await;
    };
    assert!(time::timeout(SECOND, request).await.is_err());
    assert_eq!(load.in_flight(), 0);
    assert_near(load.latency(time::now()), SECOND);
}

#[test]
fn a_member_without_history_is_tried_once() {
    let ((fresh, now), (known, _)) = (new(), new());
    let now = request(&known, now + SECOND, ms(50), true);
    assert!(cost(&fresh, now) < cost(&known, now));
    let trial = InFlight::begin(&fresh, now);
    assert!(cost(&fresh, now) > cost(&known, now));
    trial.finish(now, true);
    assert!(cost(&fresh, now) < cost(&known, now), "an answer in no time is known all the same");
    assert!(cost(&fresh, now) > 0.0);
}

#[test]
fn requests_in_flight_cost() {
    let (load, now) = new();
    let now = request(&load, now, ms(10), true);
    let one = cost(&load, now);
    let guards: Vec<_> = (0..3).map(|_| InFlight::begin(&load, now)).collect();
    assert!((cost(&load, now) / one - 4.0).abs() < 0.01);
    for guard in guards {
        guard.finish(now, true);
    }
    assert_eq!(load.in_flight(), 0);
}

#[test]
fn threads_lose_no_request() {
    let (load, now) = new();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for i in 0..10_000u32 {
                    let guard = InFlight::begin(&load, now);
                    if i % 3 == 0 { drop(guard) } else { guard.finish(now + ms(7), i % 2 == 0) }
                }
            });
        }
    });
    assert_eq!(load.in_flight(), 0);
    assert!(load.latency(now) >= ms(7));
}

proptest! {
    #[test]
    fn a_packed_latency_unpacks_the_same(stamp: u32, nanos in 0.0f32..1e18) {
        let latency = Latency { stamp, nanos };
        prop_assert_eq!(Latency::unpack(latency.pack()), latency);
    }

    #[test]
    fn the_average_stays_among_what_was_seen(
        seen in proptest::collection::vec((1u64..10_000, 0u64..5_000), 1..100)
    ) {
        let (load, mut now) = new();
        let most = seen.iter().map(|(latency, _)| *latency).max().unwrap();
        for (latency, pause) in seen {
            now = request(&load, now + ms(pause), ms(latency), true);
            prop_assert!(load.latency(now) <= ms(most) + Duration::from_micros(most));
            prop_assert!(cost(&load, now).is_finite() && cost(&load, now) > 0.0);
        }
    }
}

fn cost(load: &Load, now: Instant) -> f32 {
    load.cost(nanos_between(load.epoch(), now))
}

proptest! {
    #[test]
    fn a_rough_fading_is_nearly_the_exact_one(nanos in 1f32..1e10, age: u32) {
        let latency = Latency { stamp: 0, nanos };
        let (exact, rough) = (latency.faded(age).nanos, latency.faded_roughly(age));
        prop_assert!((exact - rough).abs() <= exact * 1e-3 + 1e-6, "{} for {}", rough, exact);
    }
}
