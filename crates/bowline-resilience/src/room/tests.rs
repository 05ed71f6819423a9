//! The room from many threads at once: what is exact must be exact.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    thread,
};

use bowline_runtime::rand;

use super::*;
use crate::sync::Arc;

const VISITOR: Visitor = Visitor { priority: Priority::Normal, until: None };

/// On threads of their own, without a clock.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(std::sync::Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

#[test]
fn no_moment_sees_more_inside_than_the_limit_and_nobody_is_forgotten() {
    const THREADS: u32 = 8;
    const LIMIT: u32 = 3;
    let room = Arc::new(Room::fair(Concurrency::exactly(LIMIT), THREADS));
    let (inside, barrier) = (AtomicU32::new(0), Barrier::new(THREADS as usize));
    thread::scope(|scope| {
        for at in 0..THREADS {
            let (room, inside, barrier) = (&room, &inside, &barrier);
            scope.spawn(move || {
                rand::seed(u64::from(at));
                barrier.wait();
                for _ in 0..3000 {
                    let mut entering = pin!(enter(&**room, VISITOR, time::now()));
                    if rand::below(4) == 0 {
                        // It is asked once and then dropped, whatever came of it.
                        let mut cx = Context::from_waker(Waker::noop());
                        drop(entering.as_mut().poll(&mut cx).map(|place| place.expect("the queue has room for all")));
                        continue;
                    }
                    let place = block_on(entering).expect("the queue has room for all");
                    assert!(inside.fetch_add(1, SeqCst) < LIMIT);
                    thread::yield_now();
                    inside.fetch_sub(1, SeqCst);
                    drop(place);
                }
            });
        }
    });
    assert_eq!(room.occupancy(), Occupancy { in_flight: 0, waiting: 0, limit: LIMIT });
    assert!(lock(&room.hall.0).wakers.len() <= 2 * THREADS as usize, "slots are used again");
}

#[test]
fn a_limit_that_changes_all_the_time_loses_nobody() {
    const THREADS: usize = 6;
    let room = Arc::new(Room::fair(Concurrency::exactly(2), 100));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..2000).for_each(|_| drop(block_on(enter(&*room, VISITOR, time::now())).unwrap())));
        }
        scope.spawn(|| (0..4000).for_each(|at| room.set_limit(1 + at % 5)));
    });
    room.set_limit(2);
    assert_eq!(room.occupancy(), Occupancy { in_flight: 0, waiting: 0, limit: 2 });
}

#[test]
fn a_waker_that_comes_back_here_does_not_wait_for_itself() {
    // It drops another one's future when it is woken, which gives up its place in the line.
    struct Reenter(std::sync::Mutex<Option<BoxFuture>>);
    type BoxFuture = std::pin::Pin<Box<dyn Future<Output = Result<Place<Arc<Room>>, Why>> + Send>>;
    impl std::task::Wake for Reenter {
        fn wake(self: std::sync::Arc<Self>) {
            drop(self.0.lock().unwrap().take());
        }
    }
    let room = Arc::new(Room::fair(Concurrency::exactly(1), 10));
    let place = Place::take(Arc::clone(&room), time::now()).unwrap();
    let mut other: BoxFuture = Box::pin(enter(Arc::clone(&room), VISITOR, time::now()));
    let mut cx = Context::from_waker(Waker::noop());
    let mut first = pin!(enter(Arc::clone(&room), VISITOR, time::now()));
    let reenter = std::sync::Arc::new(Reenter(std::sync::Mutex::new(None)));
    assert!(first.as_mut().poll(&mut Context::from_waker(&Waker::from(reenter.clone()))).is_pending());
    assert!(other.as_mut().poll(&mut cx).is_pending());
    *reenter.0.lock().unwrap() = Some(other);
    drop(place);
    assert_eq!((room.occupancy().in_flight, room.occupancy().waiting), (1, 0));
    let place = first.as_mut().poll(&mut cx);
    assert!(place.is_ready() && room.occupancy().in_flight == 1);
    drop(place);
    assert_eq!(room.occupancy().in_flight, 0);
}
