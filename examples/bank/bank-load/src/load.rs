//! The load itself: clients that transfer as fast as they are answered, some requests twice under one key.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_runtime::{
    rand,
    task::JoinSet,
    time::{self, Instant},
};
use bytes::Bytes;
use example_load::{Connection, Host, Latencies, PAUSE_AFTER_FAILURE, Progress};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use crate::accounts::{Accounts, CURRENCY};

/// One request in so many is made twice at once.
const REPEATED_ONE_IN: usize = 10;

/// How the load is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) clients: u16,
    pub(crate) amount_max: i64,
    pub(crate) length: Duration,
}

/// A transfer as the bank answers it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Transfer {
    pub(crate) id: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) amount: i64,
    pub(crate) state: String,
}

/// A request for a transfer, to be asked again under its key where it is not answered.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) key: String,
    body: serde_json::Value,
}

impl Asked {
    /// Some of what one account has for another.
    pub(crate) fn new(accounts: &Accounts, amount_max: i64, key: String) -> Self {
        let (from, to) = accounts.pair();
        let most = usize::try_from(amount_max).unwrap_or(usize::MAX);
        let amount = 1 + rand::below(most);
        Self { key, body: json!({"from": from, "to": to, "amount": amount, "currency": CURRENCY}) }
    }

    /// Asks once.
    pub(crate) async fn send(&self, bank: &Host, connection: &mut Connection) -> Answered {
        Answered::of(connection.send(bank.post_once("/transfers", &self.body, &self.key)).await)
    }
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answered {
    /// A transfer that has ended.
    Ended(Transfer),
    /// It is under way, or there were too many requests: asked again, it is known.
    Later,
    /// An answer of 500 or above.
    ServerError,
    /// Another refusal.
    Refused,
    /// None that can be read.
    Broken,
}

impl Answered {
    fn of(answer: anyhow::Result<(StatusCode, Bytes)>) -> Self {
        match answer {
            Ok((StatusCode::OK | StatusCode::CREATED, body)) => {
                serde_json::from_slice(&body).map_or(Self::Broken, Self::Ended)
            }
            Ok((StatusCode::ACCEPTED | StatusCode::TOO_MANY_REQUESTS, _)) => Self::Later,
            Ok((status, _)) if status.is_server_error() => Self::ServerError,
            Ok(_) => Self::Refused,
            Err(_) => Self::Broken,
        }
    }
}

/// What a run brought.
#[derive(Debug)]
pub(crate) struct Run {
    /// Transfers that have ended, each once.
    pub(crate) ended: Vec<Transfer>,
    /// Requests whose end is not known, to be asked again.
    pub(crate) unanswered: Vec<Asked>,
    /// Keys that were used twice, and those of them that named two transfers.
    pub(crate) repeated: u64,
    pub(crate) torn: Vec<String>,
    /// Answers of 500 and above.
    pub(crate) server_errors: u64,
    /// Other answers that are no transfer: of 202 and 429 more than others.
    pub(crate) later: u64,
    pub(crate) refused: u64,
    /// Requests without an answer.
    pub(crate) broken: u64,
    took: Duration,
    latencies: Latencies,
}

#[derive(Debug, Default)]
struct Counts {
    settled: AtomicU64,
    declined: AtomicU64,
    failed: AtomicU64,
    open: AtomicU64,
}

/// Lets so many clients transfer for so long.
pub(crate) async fn run(bank: &Host, accounts: &Accounts, plan: Plan) -> Run {
    let begun = time::now();
    let counts = Arc::new(Counts::default());
    let _shown = Progress::show(Some(plan.length), say(counts.clone()));
    let (run_id, accounts) = (rand::u64(), Arc::new(accounts.clone()));
    let mut running = JoinSet::new();
    for number in 0..plan.clients {
        let name = format!("load-{run_id:016x}-{number}");
        let client = Client { bank: bank.clone(), accounts: accounts.clone(), name, counts: counts.clone() };
        running.spawn(client.transfer_until(begun + plan.length, plan.amount_max));
    }
    let mut total = Run::empty();
    while let Some(part) = running.join_next().await {
        total.add(part.expect("a client does not panic"));
    }
    total.took = time::now() - begun;
    total
}

/// One that transfers.
struct Client {
    bank: Host,
    accounts: Arc<Accounts>,
    name: String,
    counts: Arc<Counts>,
}

impl Client {
    async fn transfer_until(self, end: Instant, amount_max: i64) -> Run {
        let mut run = Run::empty();
        let (mut connection, mut other) = (self.bank.connect(), self.bank.connect());
        for number in 0_u64.. {
            if time::now() >= end {
                break;
            }
            let asked = Asked::new(&self.accounts, amount_max, format!("{}-{number}", self.name));
            let begun = time::now();
            let answers = if rand::below(REPEATED_ONE_IN) == 0 {
                let answers = tokio::join!(asked.send(&self.bank, &mut connection), asked.send(&self.bank, &mut other));
                vec![answers.0, answers.1]
            } else {
                vec![asked.send(&self.bank, &mut connection).await]
            };
            run.latencies.record(time::now() - begun);
            let state = run.take(asked, answers);
            self.counts.of(state).fetch_add(1, Relaxed);
            if state.is_none() {
                time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
        run
    }
}

/// The end of a transfer, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Settled,
    Declined,
    Failed,
}

impl Counts {
    fn of(&self, ending: Option<Ending>) -> &AtomicU64 {
        match ending {
            Some(Ending::Settled) => &self.settled,
            Some(Ending::Declined) => &self.declined,
            Some(Ending::Failed) => &self.failed,
            None => &self.open,
        }
    }
}

/// How far the run is.
fn say(counts: Arc<Counts>) -> impl FnMut() -> String {
    let mut last = 0;
    move || {
        let Counts { settled, declined, failed, open } = &*counts;
        let [settled, declined, failed, open] = [settled, declined, failed, open].map(|count| count.load(Relaxed));
        let ended = settled + declined + failed;
        let text = format!(
            "{:>6} transfers/s  {settled} settled  {declined} declined  {failed} failed  {open} not answered",
            ended - last
        );
        last = ended;
        text
    }
}

impl Run {
    pub(crate) fn empty() -> Self {
        Self {
            ended: Vec::new(),
            unanswered: Vec::new(),
            repeated: 0,
            torn: Vec::new(),
            server_errors: 0,
            later: 0,
            refused: 0,
            broken: 0,
            took: Duration::ZERO,
            latencies: Latencies::default(),
        }
    }

    fn add(&mut self, part: Self) {
        let Self { ended, unanswered, repeated, torn, server_errors, later, refused, broken, took: _, latencies } =
            part;
        self.ended.extend(ended);
        self.unanswered.extend(unanswered);
        self.repeated += repeated;
        self.torn.extend(torn);
        self.server_errors += server_errors;
        self.later += later;
        self.refused += refused;
        self.broken += broken;
        self.latencies.add(&latencies);
    }

    /// Books the answers to one request, asked once or twice; how the transfer ended, if that is known.
    fn take(&mut self, asked: Asked, answers: Vec<Answered>) -> Option<Ending> {
        self.repeated += u64::from(answers.len() > 1);
        let mut found: Option<Transfer> = None;
        for answer in answers {
            match answer {
                Answered::Ended(transfer) => {
                    if found.as_ref().is_some_and(|found| *found != transfer) {
                        self.torn.push(asked.key.clone());
                    }
                    found = Some(transfer);
                }
                Answered::Later => self.later += 1,
                Answered::ServerError => self.server_errors += 1,
                Answered::Refused => self.refused += 1,
                Answered::Broken => self.broken += 1,
            }
        }
        let Some(transfer) = found else {
            self.unanswered.push(asked);
            return None;
        };
        let ending = match transfer.state.as_str() {
            "settled" => Ending::Settled,
            "declined" => Ending::Declined,
            _ => Ending::Failed,
        };
        self.ended.push(transfer);
        Some(ending)
    }

    /// Prints counts and the latency histogram.
    #[expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "it is the program's answer, for people")]
    pub(crate) fn print(&self) {
        let rate = self.ended.len() as f64 / self.took.as_secs_f64();
        let in_state = |state: &str| self.ended.iter().filter(|transfer| transfer.state == state).count();
        println!("\n{} transfers in {:.1} s: {rate:.0} transfers/s", self.ended.len(), self.took.as_secs_f64());
        let (settled, declined, failed) = (in_state("settled"), in_state("declined"), in_state("failed"));
        println!("settled {settled}   declined {declined}   failed {failed}");
        println!(
            "5xx {}   to be asked later {}   other refusals {}   no answer {}",
            self.server_errors, self.later, self.refused, self.broken
        );
        println!("{}", self.latencies);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(id: &str, state: &str) -> Answered {
        let (from, to) = ("a-1".to_owned(), "a-2".to_owned());
        Answered::Ended(Transfer { id: id.to_owned(), from, to, amount: 5, state: state.to_owned() })
    }

    fn asked(key: &str) -> Asked {
        let accounts = Accounts(vec!["a-1".to_owned(), "a-2".to_owned()]);
        Asked::new(&accounts, 10, key.to_owned())
    }

    #[test]
    fn a_request_asks_for_money_between_two_accounts() {
        for _ in 0..100 {
            let Asked { body, .. } = asked("k");
            assert_ne!(body["from"], body["to"], "{body}");
            assert!((1..=10).contains(&body["amount"].as_i64().unwrap()), "{body}");
        }
    }

    #[test]
    fn what_is_answered_is_counted_once_and_what_is_not_is_asked_again() {
        let mut run = Run::empty();
        assert_eq!(run.take(asked("k1"), vec![transfer("t-1", "settled")]), Some(Ending::Settled));
        assert_eq!(
            run.take(asked("k2"), vec![transfer("t-2", "declined"), transfer("t-2", "declined")]),
            Some(Ending::Declined)
        );
        assert_eq!(run.take(asked("k3"), vec![Answered::Later, transfer("t-3", "failed")]), Some(Ending::Failed));
        assert_eq!(run.take(asked("k4"), vec![Answered::ServerError, Answered::Broken]), None);
        assert_eq!(run.take(asked("k5"), vec![Answered::Refused]), None);
        assert_eq!((run.ended.len(), run.unanswered.len(), run.repeated, run.torn.len()), (3, 2, 3, 0));
        assert_eq!((run.server_errors, run.later, run.refused, run.broken), (1, 1, 1, 1));
        run.take(asked("k6"), vec![transfer("t-4", "settled"), transfer("t-5", "settled")]);
        assert_eq!(run.torn, ["k6"]);
    }

    #[test]
    fn statuses_are_what_they_say() {
        let of = |status: u16, body: &'static str| {
            Answered::of(Ok((StatusCode::from_u16(status).unwrap(), Bytes::from_static(body.as_bytes()))))
        };
        let body = r#"{"id":"t-1","from":"a-1","to":"a-2","amount":5,"currency":"EUR","state":"settled"}"#;
        assert_eq!(of(201, body), transfer("t-1", "settled"));
        assert_eq!(of(200, body), transfer("t-1", "settled"));
        for (status, expect) in [
            (201, Answered::Broken),
            (202, Answered::Later),
            (429, Answered::Later),
            (409, Answered::Refused),
            (503, Answered::ServerError),
        ] {
            assert_eq!(of(status, "{}"), expect, "{status}");
        }
        assert_eq!(Answered::of(Err(anyhow::anyhow!("no"))), Answered::Broken);
    }
}
