//! The budget under shuttle: many schedules of the threads, each from a seed that a failure prints.

use shuttle::thread;

use super::*;
use crate::sync::Arc;

#[test]
fn no_race_grants_a_retry_twice() {
    shuttle::check_pct(
        || {
            let budget = Arc::new(Budget::of(Share::ALL));
            let now = budget.born;
            // Its floor is spent, so that what is deposited is all there is.
            (0..FLOOR_PER_SECOND).for_each(|_| assert!(budget.try_withdraw(now)));
            let spawn = |_| {
                let budget = Arc::clone(&budget);
                thread::spawn(move || {
                    budget.deposit(now);
                    u32::from(budget.try_withdraw(now)) + u32::from(budget.try_withdraw(now))
                })
            };
            let handles: Vec<_> = (0..3).map(spawn).collect();
            let granted: u32 = handles.into_iter().map(|handle| handle.join().expect("no thread panics")).sum();
            let left = u32::from(budget.try_withdraw(now));
            assert!(granted + left <= 3 && !budget.try_withdraw(now) || granted < 3, "{granted} of 3 deposits");
            assert!(granted <= 3);
        },
        20_000,
        3,
    );
}
