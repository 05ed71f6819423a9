//! What became of transfers: told by messages, folded in windows of time by who paid, and kept a batch at once.
//!
//! A message is acknowledged when what it tells is durable. Assessed transfers are known already: what comes this way
//! are those that nobody asked about, since this service was away, and which of them moved no money.

use std::time::Duration;

use bowline::{
    Microservice,
    messages::Failure,
    runtime::task,
    stream::{
        self, Delivered, Flow, InvalidWindows, Receipt, Receipts, ReceiverStream, Stream, StreamExt as _, Windows,
    },
};
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::{
    assessment::{is_amount, is_id},
    repository::Assessments,
};

/// How long a window is: a message waits in it for its answer, and those of its ordering key wait for that.
const WINDOW: Duration = Duration::from_millis(100);
/// How much later than others a message may come and still be in its window.
const LATE_BY: Duration = Duration::from_millis(100);
/// Messages of each topic that are in windows at most, unanswered.
const AT_A_TIME: usize = 512;
/// Late messages that wait at most: as many as there can be.
const LATE_MAX: usize = 2 * AT_A_TIME;
/// Windows that are written in one transaction, and how long the first of them waits for others.
const WRITTEN_AT_ONCE: (usize, Duration) = (64, Duration::from_millis(100));

/// What became of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Settled,
    Declined,
}

/// A transfer that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) transfer: String,
    pub(crate) from: String,
    pub(crate) to: String,
    /// In minor units.
    pub(crate) amount: i64,
    /// When it was asked for, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    /// When it was told that it ended.
    pub(crate) told_ms: i64,
    pub(crate) outcome: Outcome,
}

/// What transaction tells, as far as it is read here.
#[derive(Debug, Deserialize)]
struct Told {
    id: String,
    from: String,
    to: String,
    amount: i64,
    /// Absent: when it was told.
    at_unix_ms: Option<i64>,
}

/// A message, as far as windows need to know.
pub(crate) trait Message {
    fn ended(&self) -> &Ended;

    /// A share in answering it.
    fn share(&self) -> Option<Receipt>;
}

impl Message for Delivered<Ended> {
    fn ended(&self) -> &Ended {
        &self.value
    }

    fn share(&self) -> Option<Receipt> {
        Some(Self::share(self))
    }
}

/// What is kept together, and what answers its messages.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    ended: Vec<Ended>,
    receipts: Receipts,
}

impl Batch {
    fn add(&mut self, message: &impl Message) {
        self.ended.push(message.ended().clone());
        if let Some(receipt) = message.share() {
            self.receipts.push(receipt);
        }
    }

    fn of(message: &impl Message) -> Self {
        let mut batch = Self::default();
        batch.add(message);
        batch
    }

    fn append(mut self, other: Self) -> Self {
        self.ended.extend(other.ended);
        self.receipts.append(other.receipts);
        self
    }
}

/// Keeps what is told, from when the service serves until it stops.
pub(crate) fn follow(service: &mut Microservice, repository: impl Assessments) -> Result<(), InvalidWindows> {
    let settled = told(service, "transfer.settled", Outcome::Settled);
    let declined = told(service, "transfer.declined", Outcome::Declined);
    let batches = batches(settled.merge(declined))?;
    task::spawn(keep(batches, repository));
    Ok(())
}

/// What a topic tells; what cannot be is a dead letter.
fn told(service: &mut Microservice, topic: &str, outcome: Outcome) -> impl Stream<Item = Delivered<Ended>> + use<> {
    let messages = service.consumer(topic).at_a_time(AT_A_TIME).stream::<Told>();
    messages.filter_map(move |delivered| {
        let told_ms = delivered.message.published_ms;
        let is_good = delivered.value.is_good();
        std::future::ready(if is_good {
            Some(delivered.map(|told| told.ended(told_ms, outcome)))
        } else {
            delivered.fail(Failure::dead("id, from and to are ids, amount is at least 1"));
            None
        })
    })
}

impl Told {
    fn is_good(&self) -> bool {
        [&self.id, &self.from, &self.to].into_iter().all(|id| is_id(id)) && is_amount(self.amount)
    }

    fn ended(self, told_ms: i64, outcome: Outcome) -> Ended {
        let Self { id, from, to, amount, at_unix_ms } = self;
        // Nothing ends before it is asked for.
        let at_ms = at_unix_ms.unwrap_or(told_ms).min(told_ms);
        Ended { transfer: id, from, to, amount, at_ms, told_ms, outcome }
    }
}

/// What is told in a moment by the account that paid, several accounts at once; what comes late is kept all the same.
fn batches<S>(told: S) -> Result<impl Stream<Item = Batch> + Send + 'static, InvalidWindows>
where
    S: Stream + Send + 'static,
    S::Item: Message + Send + 'static,
{
    let (late, lates) = mpsc::channel::<S::Item>(LATE_MAX);
    let windows = told
        .window(Windows::tumbling(WINDOW)?, |message| message.ended().told_ms)
        .by(|message| message.ended().from.clone())
        .late_by(LATE_BY)
        .idle_after(WINDOW)
        .late_to(late)
        .fold(Batch::default, |batch: &mut Batch, message| batch.add(message));
    // When they end they are dropped, and with them the way for late ones: so that these end, too.
    let windows = stream::unfold(Box::pin(windows), async |mut windows| Some((windows.next().await?, windows)));
    let lates = ReceiverStream::new(lates).map(|message| Batch::of(&message));
    let (count, within) = WRITTEN_AT_ONCE;
    let batches = windows.map(|window| window.value).merge(lates).batch(count, within);
    Ok(batches.map(|batches| batches.into_iter().fold(Batch::default(), Batch::append)))
}

/// Answers messages when what they tell is kept.
async fn keep(batches: impl Stream<Item = Batch>, repository: impl Assessments) {
    let mut batches = std::pin::pin!(batches);
    while let Some(Batch { ended, receipts }) = batches.next().await {
        match repository.note(&ended).await {
            Ok(()) => receipts.ack(),
            Err(error) => {
                tracing::warn!(error = %error, "what became of transfers is not kept; it is tried again");
                receipts.fail(&Failure::from(error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use example_sql::{Db, on_both, testing::Fixture};

    use super::*;
    use crate::repository::{
        History,
        tests::{asked, opened},
    };

    on_both!(what_is_told_is_kept_also_where_it_is_late);

    impl Message for Ended {
        fn ended(&self) -> &Ended {
            self
        }

        fn share(&self) -> Option<Receipt> {
            None
        }
    }

    fn settled(transfer: &str, from: &str, at_ms: i64) -> Ended {
        let (transfer, from, to) = (transfer.to_owned(), from.to_owned(), "a-9".to_owned());
        Ended { transfer, from, to, amount: 100, at_ms, told_ms: at_ms, outcome: Outcome::Settled }
    }

    async fn what_is_told_is_kept_also_where_it_is_late<DB: Db>(fixture: Fixture<DB>) {
        let repository = opened(&fixture).await;
        let at_ms = 1_767_787_200_000;
        let told = [
            settled("t-1", "a-1", at_ms),
            settled("t-2", "a-2", at_ms + 10),
            settled("t-3", "a-1", at_ms + 20),
            // The clock goes on; the last is too late for its window.
            settled("t-4", "a-1", at_ms + 60_000),
            settled("t-5", "a-1", at_ms + 500),
        ];
        keep(batches(stream::iter(told)).unwrap(), repository.clone()).await;
        let History { paid, received } = repository.history(&asked("t-9", "a-1", at_ms + 120_000)).await.unwrap();
        let found: Vec<i64> = paid.iter().map(|paid| paid.at_ms - at_ms).collect();
        assert_eq!(found, [60_000, 500, 20, 0]);
        assert!(received.is_empty());
    }

    #[test]
    fn a_message_is_read_as_far_as_it_is_needed() {
        let read = |text: &str| serde_json::from_str::<Told>(text).unwrap();
        let told =
            r#"{"id":"t-1","from":"a-1","to":"a-2","amount":100,"currency":"EUR","at_unix_ms":AT,"state":"settled"}"#;
        for (at, expect) in [("500", 500), ("1500", 1_000), ("null", 1_000)] {
            let told = read(&told.replace("AT", at));
            assert!(told.is_good());
            let ended = told.ended(1_000, Outcome::Settled);
            assert_eq!((ended.at_ms, ended.told_ms), (expect, 1_000));
        }
        for (good, bad) in [("t-1", ""), ("a-1", "../a"), ("a-2", "a b"), ("100", "0")] {
            assert!(!read(&told.replace("AT", "1").replace(good, bad)).is_good(), "{bad}");
        }
    }

    #[tokio::test]
    async fn what_is_told_at_once_is_one_batch() {
        let told = (0..200).map(|number| {
            let (transfer, from) = (format!("t-{number}"), format!("a-{}", number % 4));
            settled(&transfer, &from, 1_767_787_200_000 + number)
        });
        let batches: Vec<Batch> = batches(stream::iter(told)).unwrap().collect().await;
        assert_eq!(batches.iter().map(|batch| batch.ended.len()).collect::<Vec<_>>(), [200]);
    }
}
