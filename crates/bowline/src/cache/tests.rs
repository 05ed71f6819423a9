//! Who asks a cache, and has no more time.

use std::{future::pending, time::Duration};

use bowline_model::Code;
use bowline_resilience::deadline::Deadline;
use bowline_runtime::{task, time};
use tokio::sync::oneshot;

use super::*;
use crate::{Settings, client::with_deadline};

const LEFT: Duration = Duration::from_millis(300);

/// Asks as a request does that has so much time.
async fn within(
    left: Duration,
    cache: &Cache<String, u64>,
    load: impl Future<Output = Result<Option<u64>, Failure>> + Send + 'static,
) -> Result<Option<Arc<u64>>, Error> {
    with_deadline(Some(Deadline::after(time::now(), left)), cache.get_or_load("ada", || load)).await
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_no_longer_than_it_has_time_and_its_load_goes_on() {
    let service = Microservice::new(Settings::from_vars("order", Vec::new()).unwrap());
    let stale = |cache: Builder<_, _>| cache.ttl(Duration::from_secs(1)).stale_if_error(Duration::from_hours(1));
    let cache = service.cache::<String, u64>("users").with(stale).build().unwrap();
    let (answer, answered) = oneshot::channel();
    let load = async move { Ok(answered.await.ok()) };
    let begin = time::now();
    let error = within(LEFT, &cache, load).await.unwrap_err();
    assert_eq!((begin.elapsed(), error.code()), (LEFT, Code::DeadlineExceeded), "{error}");
    assert_eq!(HandlerError::from(error).code(), Code::DeadlineExceeded);

    // Who has more time waits for the same load.
    let patient = cache.clone();
    let patient = task::spawn(async move { within(LEFT * 10, &patient, pending()).await });
    time::sleep(LEFT).await; // tidy: sleep: the clock is paused
    answer.send(7).unwrap();
    assert_eq!(*patient.await.unwrap().unwrap().unwrap(), 7);

    time::sleep(Duration::from_secs(2)).await; // tidy: sleep: the clock is paused
    let begin = time::now();
    assert_eq!(*within(LEFT, &cache, pending()).await.unwrap().unwrap(), 7, "it is stale");
    assert_eq!(begin.elapsed(), LEFT);
}

#[tokio::test(start_paused = true)]
async fn who_has_no_deadline_waits_for_the_load() {
    let service = Microservice::new(Settings::from_vars("order", Vec::new()).unwrap());
    let cache = service.cache::<String, u64>("users").build().unwrap();
    let begin = time::now();
    let error = cache.get_or_load("ada", pending).await.unwrap_err();
    assert!(matches!(error, Error::Load { .. }) && error.code() == Code::DeadlineExceeded, "{error}");
    assert_eq!(begin.elapsed(), Duration::from_secs(10), "the time of a load");
}
