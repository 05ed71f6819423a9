//! Logins as a load: at a rate, whatever becomes of them, or by clients that wait for their answers.
//!
//! A password takes the service a core for a while, so that it can check so many a second and no more: what becomes of
//! those that come beyond that is what is looked at. Who is not answered within a second has gone away.

use std::time::Duration;

use bowline_runtime::{
    rand,
    task::JoinSet,
    time::{self, Instant},
};
use clap::Args;
use example_load::{Connection, Host, Latencies, PAUSE_AFTER_FAILURE};
use serde::Serialize;

use crate::customers::{PASSWORD, SEEDED};

/// For how long one who signs in waits.
const PATIENCE: Duration = Duration::from_secs(1);

/// Logins under way at once: what is due beyond is not sent, and counts as one that was not answered.
const UNDER_WAY_MAX: usize = 2000;

/// How logins come.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Coming {
    /// Logins a second, which come independently of each other and of the answers
    #[arg(long, required_unless_present = "clients", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: Option<u32>,
    /// Clients that sign in again as soon as they are answered
    #[arg(long, conflicts_with = "rate", value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: Option<u16>,
    /// How long they come, in seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

/// What became of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Good,
    /// Turned away by a service that has more than it can do.
    Shed,
    /// Turned away otherwise.
    Refused,
    /// None, and none that will come: the connection broke, or was not made.
    Broken,
    /// None within [`PATIENCE`].
    Late,
}

/// What became of all.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    /// Tokens that came in time and before the end.
    good: u64,
    shed: u64,
    refused: u64,
    broken: u64,
    late: u64,
    /// Of those that were not turned away: who is late has waited for as long as it waits.
    latencies: Latencies,
}

/// The same, as it is told.
#[derive(Debug, Serialize)]
struct Told {
    sent: u64,
    good_per_second: f64,
    shed: u64,
    refused: u64,
    broken: u64,
    late: u64,
    p50_ms: f64,
    p99_ms: f64,
}

/// One login that is over.
struct Over {
    connection: Connection,
    answer: Answer,
    took: Duration,
}

/// Lets logins come, and says what became of them: a line of JSON.
///
/// # Errors
/// When it cannot be said.
pub(crate) async fn run(shop: &Host, coming: Coming) -> anyhow::Result<()> {
    let length = Duration::from_secs(coming.seconds);
    let tally = match (coming.rate, coming.clients) {
        (Some(rate), _) => at_rate(shop, rate, length).await,
        (None, clients) => by_clients(shop, clients.unwrap_or(1), length).await,
    };
    example_load::say(serde_json::to_string(&tally.told(length))?)
}

/// Sends each when it is due, on a connection that is free.
async fn at_rate(shop: &Host, rate: u32, length: Duration) -> Tally {
    let begun = time::now();
    let (mut tally, mut idle, mut under_way) = (Tally::default(), Vec::new(), JoinSet::new());
    let mut due = begun + gap(rate);
    while due < begun + length {
        time::sleep_until(due).await;
        while let Some(over) = under_way.try_join_next() {
            idle.extend(tally.book(over.expect("a login does not panic"), begun + length));
        }
        tally.sent += 1;
        if under_way.len() < UNDER_WAY_MAX {
            let connection = idle.pop().unwrap_or_else(|| shop.connect());
            under_way.spawn(login(shop.clone(), connection, tally.sent, due));
        } else {
            tally.late += 1;
            tally.latencies.record(PATIENCE);
        }
        due += gap(rate);
    }
    while let Some(over) = under_way.join_next().await {
        tally.book(over.expect("a login does not panic"), begun + length);
    }
    tally
}

/// How long after one another two come, of so many a second that know nothing of each other.
fn gap(rate: u32) -> Duration {
    Duration::from_secs_f64(-(1.0 - rand::unit()).ln() / f64::from(rate))
}

/// Each client waits for its answer before it asks again.
async fn by_clients(shop: &Host, clients: u16, length: Duration) -> Tally {
    let end = time::now() + length;
    let mut running = JoinSet::new();
    for client in 0..clients {
        let shop = shop.clone();
        running.spawn(async move {
            let (mut tally, mut connection) = (Tally::default(), shop.connect());
            while time::now() < end {
                let number = u64::from(client) + tally.sent * u64::from(clients);
                let over = login(shop.clone(), connection, number, time::now()).await;
                let was_good = over.answer == Answer::Good;
                tally.sent += 1;
                connection = tally.book(over, end).unwrap_or_else(|| shop.connect());
                if !was_good {
                    time::sleep(PAUSE_AFTER_FAILURE).await;
                }
            }
            tally
        });
    }
    let mut all = Tally::default();
    while let Some(tally) = running.join_next().await {
        all.add(&tally.expect("a client does not panic"));
    }
    all
}

async fn login(shop: Host, mut connection: Connection, number: u64, due: Instant) -> Over {
    let email = format!("load-{}@example.com", number % u64::from(SEEDED));
    let request = shop.post("/login", &serde_json::json!({"email": email, "password": PASSWORD}));
    let answer = match time::timeout_at(due + PATIENCE, connection.answer(request)).await {
        Ok(Ok(answer)) if answer.status().is_success() => Answer::Good,
        Ok(Ok(answer)) if answer.headers().get("x-bowline-reason").is_some_and(|why| why == "shed") => Answer::Shed,
        Ok(Ok(_)) => Answer::Refused,
        Ok(Err(_)) => Answer::Broken,
        Err(_) => Answer::Late,
    };
    Over { connection, answer, took: time::now() - due }
}

impl Tally {
    /// Books one, and gives its connection, where that can be used again.
    fn book(&mut self, over: Over, end: Instant) -> Option<Connection> {
        let Over { connection, answer, took } = over;
        match answer {
            // What was left at the end is no part of what is done in the time.
            Answer::Good => self.good += u64::from(time::now() < end),
            Answer::Shed => self.shed += 1,
            Answer::Refused => self.refused += 1,
            Answer::Broken => self.broken += 1,
            Answer::Late => self.late += 1,
        }
        match answer {
            Answer::Good => self.latencies.record(took),
            Answer::Late => self.latencies.record(PATIENCE),
            Answer::Shed | Answer::Refused | Answer::Broken => {}
        }
        (!matches!(answer, Answer::Broken | Answer::Late)).then_some(connection)
    }

    fn add(&mut self, other: &Self) {
        let Self { sent, good, shed, refused, broken, late, latencies } = other;
        self.sent += sent;
        self.good += good;
        self.shed += shed;
        self.refused += refused;
        self.broken += broken;
        self.late += late;
        self.latencies.add(latencies);
    }

    #[expect(clippy::cast_precision_loss, reason = "there are far fewer than 2^52")]
    fn told(&self, length: Duration) -> Told {
        let Self { sent, good, shed, refused, broken, late, latencies } = self;
        let [p50_ms, p99_ms] = [0.5, 0.99].map(|share| latencies.quantile_ms(share));
        let good_per_second = *good as f64 / length.as_secs_f64();
        Told {
            sent: *sent,
            good_per_second,
            shed: *shed,
            refused: *refused,
            broken: *broken,
            late: *late,
            p50_ms,
            p99_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use bowline_testkit::{Answer as Said, HttpServer};

    use super::*;
    use crate::SHOP;

    fn over(answer: Answer, took: u64) -> Over {
        let connection = Connection::new(([127, 0, 0, 1], 1).into());
        Over { connection, answer, took: Duration::from_millis(took) }
    }

    #[test]
    fn what_is_turned_away_is_not_among_the_latencies_and_who_is_late_is() {
        let (mut tally, end) = (Tally::default(), time::now() + Duration::from_mins(1));
        for _ in 0..98 {
            assert!(tally.book(over(Answer::Good, 20), end).is_some());
        }
        assert!(tally.book(over(Answer::Shed, 5), end).is_some());
        assert!(tally.book(over(Answer::Refused, 5), end).is_some());
        for _ in 0..2 {
            assert!(tally.book(over(Answer::Late, 3000), end).is_none(), "the answer might come yet");
        }
        assert!(tally.book(over(Answer::Good, 20), time::now()).is_some());
        let mut all = Tally::default();
        all.add(&tally);
        let told = all.told(Duration::from_secs(7));
        assert_eq!((told.good_per_second, told.shed, told.refused, told.late), (14.0, 1, 1, 2));
        assert!((19.9..20.1).contains(&told.p50_ms) && told.p99_ms >= 999.0, "{told:?}");
    }

    #[tokio::test]
    async fn each_login_is_told_by_its_answer() {
        let asked = AtomicUsize::new(0);
        let shop = HttpServer::start(move |_| Said::status(if asked.fetch_add(1, Relaxed) == 0 { 200 } else { 503 }));
        let host = Host::new(shop.addr(), SHOP);
        let first = login(host.clone(), host.connect(), 1, time::now()).await;
        assert_eq!(first.answer, Answer::Good);
        assert_eq!(login(host.clone(), first.connection, 65, time::now()).await.answer, Answer::Refused);
        let requests = shop.requests();
        let body = |at: usize| serde_json::from_slice::<serde_json::Value>(&requests[at].body).unwrap();
        assert_eq!(body(0), serde_json::json!({"email": "load-1@example.com", "password": "correct horse"}));
        assert_eq!(body(0), body(1), "the users take turns");
        let nobody = Host::new(([127, 0, 0, 1], 1).into(), SHOP);
        assert_eq!(login(nobody.clone(), nobody.connect(), 0, time::now()).await.answer, Answer::Broken);
    }

    #[tokio::test]
    async fn as_many_come_as_are_asked_for() {
        let shop = HttpServer::start(|_| Said::status(200));
        let host = Host::new(shop.addr(), SHOP);
        let tally = at_rate(&host, 200, Duration::from_secs(1)).await;
        assert!((100..300).contains(&tally.sent), "{tally:?}");
        assert_eq!(tally.shed + tally.refused, 0);
        let tally = by_clients(&host, 2, Duration::from_millis(200)).await;
        assert!(tally.sent >= 2, "{tally:?}");
    }
}
