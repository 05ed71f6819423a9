//! Waiting for a condition, with a bound: what tests do instead of sleeping.

use std::{future::Future, time::Duration};

use bowline_runtime::time;

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(10);

/// Waits until the condition holds.
///
/// # Panics
/// When it does not within `bound`.
#[track_caller]
pub fn eventually(bound: Duration, mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    eventually_some(bound, move || condition().then_some(()))
}

/// Waits until there is something, and gives it.
///
/// # Panics
/// When there is nothing within `bound`.
#[track_caller]
pub fn eventually_some<T>(bound: Duration, mut find: impl FnMut() -> Option<T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move {
        let until = time::now() + bound;
        loop {
            if let Some(found) = find() {
                return found;
            }
            assert!(time::now() < until, "{caller}: the condition did not hold within {bound:?}");
            time::sleep(EVERY).await;
        }
    }
}

/// [`eventually`] for tests without an async runtime.
///
/// # Panics
/// When it does not hold within `bound`.
#[track_caller]
pub fn eventually_blocking(bound: Duration, mut condition: impl FnMut() -> bool) {
    let began = time::now();
    while !condition() {
        assert!(time::now() - began < bound, "the condition did not hold within {bound:?}");
        std::thread::sleep(EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_holds_later_is_waited_for() {
        let mut looks = 0;
        let found = eventually_some(Duration::from_secs(1), move || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(found.await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_holds_fails_the_test() {
        let waiting = bowline_runtime::task::spawn(eventually(Duration::from_secs(1), || false));
        let panic = waiting.await.unwrap_err().into_panic();
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.contains("did not hold within 1s"), "{text}");
    }
}
