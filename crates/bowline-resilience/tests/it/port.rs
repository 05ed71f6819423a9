//! The mission document's port, as its users call it.

use bowline_model::policy::{BreakerPolicy, OpenFor};
use bowline_resilience::{
    Breaker, CircuitBreaker as _, CircuitBreakerError,
    breaker::{Rejected, State},
};
use bowline_runtime::time::{self, Duration};

#[tokio::test(start_paused = true)]
async fn calls_are_made_until_they_fail_and_again_when_they_may_have_recovered() {
    let open_for = Duration::from_secs(5);
    let policy =
        BreakerPolicy { calls_min: 2, probes_max: 1, open_for: OpenFor::exactly(open_for), ..BreakerPolicy::default() };
    let breaker = Breaker::new(&policy);
    assert_eq!(breaker.call(async || Ok::<_, ()>(1)).await, Ok(1));
    let failed = breaker.call(async || Err::<u32, _>("no")).await;
    assert_eq!(failed, Err(CircuitBreakerError::ServiceError("no")));
    let refused = breaker.call(async || -> Result<u32, ()> { panic!("it is left alone") }).await;
    assert_eq!(refused, Err(CircuitBreakerError::CircuitOpen(Rejected { retry_after: open_for })));
    time::sleep(open_for).await;
    assert_eq!(breaker.call(async || Ok::<_, ()>(2)).await, Ok(2));
    assert_eq!(breaker.state(time::now()), State::Closed);
}
