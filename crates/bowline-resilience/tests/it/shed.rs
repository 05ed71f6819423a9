//! Load shedding as a service sees it, over virtual time.

use bowline_model::policy::{
    Concurrency,
    Priority::{self, Critical, High, Low, Normal},
    ShedPolicy,
};
use bowline_resilience::{
    Deadline, Shedder,
    shed::{Permit, Refused, wait_max},
};
use bowline_runtime::{
    task,
    time::{self, Duration},
};
use tokio::sync::mpsc;

const TARGET: Duration = Duration::from_millis(20);
const INTERVAL: Duration = Duration::from_millis(100);

fn shedder(calls: u32, queue_max: u32) -> Shedder {
    let calls_max = Concurrency::exactly(calls);
    Shedder::new(&ShedPolicy { calls_max, queue_max, delay_target: TARGET, interval: INTERVAL })
}

type Answers = mpsc::Receiver<(u32, Result<Permit, Refused>)>;

/// One asks, and its answer comes with its number.
async fn ask(shedder: &Shedder, tx: &mpsc::Sender<(u32, Result<Permit, Refused>)>, at: u32, priority: Priority) {
    let (shedder, tx) = (shedder.clone(), tx.clone());
    task::spawn(async move {
        let answer = shedder.admit(priority, None, time::now()).await;
        tx.send((at, answer)).await.ok();
    });
    tokio::task::yield_now().await;
}

async fn next(answers: &mut Answers) -> (u32, Option<Permit>) {
    let (at, answer) = answers.recv().await.expect("the sender is kept");
    (at, answer.ok())
}

#[tokio::test(start_paused = true)]
async fn the_more_important_is_served_first_and_among_equals_who_came_first() {
    let shedder = shedder(1, 100);
    let (tx, mut answers) = mpsc::channel(100);
    let held = shedder.admit(Low, None, time::now()).await.unwrap();
    for (at, priority) in [(0, Low), (1, Normal), (2, Critical), (3, Normal), (4, High), (5, Critical)] {
        ask(&shedder, &tx, at, priority).await;
    }
    drop(held);
    for expected in [2, 5, 4, 1, 3, 0] {
        let (at, permit) = next(&mut answers).await;
        assert_eq!(at, expected);
        drop(permit.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_gives_the_places_of_the_less_important_to_the_more_important() {
    let shedder = shedder(1, 2);
    let (tx, mut answers) = mpsc::channel(100);
    let held = shedder.admit(Normal, None, time::now()).await.unwrap();
    ask(&shedder, &tx, 0, Low).await;
    ask(&shedder, &tx, 1, Normal).await;
    ask(&shedder, &tx, 2, Low).await;
    assert!(matches!(answers.recv().await.unwrap(), (2, Err(Refused::Full { .. }))), "it would be the last");
    ask(&shedder, &tx, 3, High).await;
    assert!(matches!(answers.recv().await.unwrap(), (0, Err(Refused::Full { .. }))));
    ask(&shedder, &tx, 4, Normal).await;
    assert!(matches!(answers.recv().await.unwrap(), (4, Err(Refused::Full { .. }))), "its like came before");
    drop(held);
    let (at, permit) = next(&mut answers).await;
    assert_eq!((at, permit.is_some()), (3, true));
}

#[tokio::test(start_paused = true)]
async fn who_waits_beyond_its_deadline_is_dropped() {
    let shedder = shedder(1, 10);
    let now = time::now();
    let held = shedder.admit(Normal, None, now).await.unwrap();
    let deadline = Deadline::after(now, TARGET);
    let refused = shedder.admit(Normal, Some(deadline), now).await.unwrap_err();
    assert_eq!((refused, time::now() - now), (Refused::Late, TARGET));
    drop(held);
    assert_eq!(shedder.admit(Normal, Some(deadline), time::now()).await.unwrap_err(), Refused::Late);
    assert_eq!((shedder.occupancy().in_flight, shedder.occupancy().waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_taken_up_and_a_queue_that_stands_is_cut() {
    let shedder = shedder(1, 1000);
    let (tx, mut answers) = mpsc::channel(10_000);
    // 1 ms of work each: 30 at once are a burst, which is over after 30 ms.
    for at in 0..30 {
        ask(&shedder, &tx, at, Normal).await;
    }
    for _ in 0..30 {
        let (_, permit) = next(&mut answers).await;
        let permit = permit.expect("none of a burst is turned away");
        tokio::time::advance(Duration::from_millis(1)).await;
        drop(permit);
    }
    assert_eq!(shedder.occupancy().waiting, 0);
    // Twice as many as can be worked upon, for two seconds, every fourth critical.
    let (mut served, mut refused, mut waits) = ([0; 2], [0; 2], Vec::new());
    let mut asked = std::collections::BTreeMap::new();
    for at in 0..2000 {
        for which in [2 * at, 2 * at + 1] {
            asked.insert(which, time::now());
            ask(&shedder, &tx, which, if which % 4 == 0 { Critical } else { Low }).await;
        }
        let permit = loop {
            let (which, permit) = next(&mut answers).await;
            let is_critical = usize::from(which % 4 == 0);
            match permit {
                Some(permit) => {
                    served[is_critical] += 1;
                    waits.push((time::now() - asked[&which], which));
                    break permit;
                }
                None => refused[is_critical] += 1,
            }
        };
        tokio::time::advance(Duration::from_millis(1)).await;
        drop(permit);
    }
    assert_eq!(refused[1], 0, "what is critical is less than can be worked upon");
    assert!(served[0] + served[1] == 2000 && refused[0] > 1000, "{served:?} {refused:?}");
    let late = waits.iter().filter(|(wait, which)| *which > 800 && *wait > TARGET * 2).count();
    assert_eq!(late, 0, "who is served once the queue is seen to stand has waited twice the target at most");
    assert!(shedder.occupancy().waiting <= 100, "{:?}", shedder.occupancy());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_when_to_ask_again() {
    let shedder = shedder(1, 0);
    let _held = shedder.try_admit(time::now()).unwrap();
    let refused = shedder.admit(Critical, None, time::now()).await.unwrap_err();
    assert_eq!(refused.retry_after(), Some(INTERVAL));
    assert!(refused.retryable());
    assert!(!Refused::Late.retryable());
}

#[tokio::test(start_paused = true)]
async fn who_has_no_deadline_waits_for_so_long_at_most() {
    let policy = ShedPolicy { delay_target: TARGET, interval: INTERVAL, ..ShedPolicy::default() };
    let bound = wait_max(&policy);
    assert_eq!(bound, (TARGET + INTERVAL) * 2);
    let shedder = shedder(1, 10);
    let now = time::now();
    // It hangs, and nobody comes or goes.
    let _held = shedder.admit(Normal, None, now).await.unwrap();
    let waits = time::timeout(bound * 2, shedder.admit(Critical, None, now)).await.expect("its waiting is bounded");
    assert_eq!(waits.unwrap_err(), Refused::Overloaded { retry_after: INTERVAL });
    assert_eq!((time::now() - now, shedder.occupancy().waiting), (bound, 0));
    let far = Some(Deadline::after(time::now(), bound * 10));
    assert!(matches!(shedder.admit(Critical, far, time::now()).await, Err(Refused::Overloaded { .. })));
}

#[tokio::test(start_paused = true)]
async fn who_has_hardly_any_time_left_displaces_nobody() {
    let shedder = shedder(1, 1);
    let (tx, mut answers) = mpsc::channel(100);
    let held = shedder.admit(Normal, None, time::now()).await.unwrap();
    ask(&shedder, &tx, 0, Low).await;
    let soon = Some(Deadline::after(time::now(), TARGET));
    assert!(matches!(shedder.admit(Critical, soon, time::now()).await, Err(Refused::Full { .. })));
    drop(held);
    assert!(matches!(next(&mut answers).await, (0, Some(_))));
}
