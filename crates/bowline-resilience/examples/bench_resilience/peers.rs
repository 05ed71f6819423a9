//! What others have for the same.

use std::{
    fmt::Debug,
    future::poll_fn,
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use failsafe::{CircuitBreaker as _, FailurePolicy};
use recloser::Recloser;
use tokio::sync::Semaphore;
use tower::{
    BoxError, Service, ServiceBuilder,
    retry::budget::{Budget as _, TpsBudget},
};

pub(crate) type Failsafe<P> = failsafe::StateMachine<P, ()>;

/// As it is by default: a success rate over 30 s, or five failures in a row.
pub(crate) fn failsafe() -> Failsafe<impl FailurePolicy + Debug + Send + Sync> {
    failsafe::Config::new().build()
}

pub(crate) fn call_failsafe(breaker: &Failsafe<impl FailurePolicy>) {
    black_box(breaker.call(|| Ok::<u32, ()>(black_box(1)))).expect("it is closed");
}

/// As it is by default: the last calls in a ring.
pub(crate) fn recloser() -> Recloser {
    Recloser::default()
}

pub(crate) fn call_recloser(breaker: &Recloser) {
    black_box(breaker.call(|| Ok::<u32, ()>(black_box(1)))).expect("it is closed");
}

/// What is in tower's limit of concurrency.
pub(crate) fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits))
}

/// One waits for the place that another holds, and gets it; for a time, as with ours.
pub(crate) fn hand_over(permits: &Arc<Semaphore>) {
    let place = permits.try_acquire().expect("nobody has it");
    let mut cx = Context::from_waker(Waker::noop());
    let mut waits = pin!(tokio::time::timeout(Duration::from_secs(1), permits.acquire()));
    assert!(waits.as_mut().poll(&mut cx).is_pending());
    drop(place);
    assert!(waits.as_mut().poll(&mut cx).is_ready());
}

pub(crate) fn budget() -> TpsBudget {
    TpsBudget::new(Duration::from_secs(10), 10, 0.2)
}

pub(crate) fn take(budget: &TpsBudget) {
    budget.deposit();
    black_box(budget.withdraw());
}

/// Tower's limit of concurrency and timeout, with failsafe's breaker around each call.
pub(crate) struct Stack<S, P> {
    service: S,
    breaker: Failsafe<P>,
}

pub(crate) fn stack<F: Future<Output = Result<u32, BoxError>>>(
    timeout: Duration,
    call: impl FnMut(()) -> F,
) -> Stack<impl Service<(), Response = u32, Error = BoxError>, impl FailurePolicy> {
    let layers = ServiceBuilder::new().concurrency_limit(100).timeout(timeout);
    Stack { service: layers.service(tower::service_fn(call)), breaker: failsafe() }
}

impl<S: Service<(), Response = u32, Error = BoxError>, P: FailurePolicy> Stack<S, P> {
    pub(crate) async fn call(&mut self) -> Result<u32, BoxError> {
        assert!(self.breaker.is_call_permitted());
        poll_fn(|cx| self.service.poll_ready(cx)).await?;
        let result = self.service.call(()).await;
        match &result {
            Ok(_) => self.breaker.on_success(),
            Err(_) => self.breaker.on_error(),
        }
        result
    }
}
