//! How a model comes about: data by time, features, learning, the operating point, and how good it is on what it has not
//! seen.

use bank_features::{DAY_MS, DELAY_MS, Features, MEMORY_MS, PAYEE_MEMORY_MS, Paid, Received, Row};
use example_model::{
    Learned as _,
    metrics::{at_threshold, average_precision, roc_auc, rounded, threshold_of_precision},
    real,
};

use crate::{
    Set,
    boosting::{Forest, Params, learn},
    data::{BEGIN_MS, Transfer, generate},
    model::{Metrics, Model, Origin},
};

/// Accounts of the model that is served.
pub const ACCOUNTS: u32 = 3_000;

/// How precise the threshold has to be on the validation span: four of five that are denied are frauds.
const PRECISION: f64 = 0.8;

/// Days before the first span: as long as features look back.
const WARM_UP_DAYS: i64 = 37;
const TRAIN_DAYS: i64 = 60;
const VALID_DAYS: i64 = 28;
const TEST_DAYS: i64 = 30;
/// Between two spans: until labels are known.
const GAP_DAYS: i64 = DELAY_MS / DAY_MS;

/// The three spans, one after the other in time.
#[derive(Debug, Clone, Default)]
pub struct Spans {
    /// What is learned from.
    pub train: Set,
    /// What says when to stop, and where the threshold is.
    pub valid: Set,
    /// What neither learner nor threshold have seen.
    pub test: Set,
}

impl Spans {
    /// Of a world with that seed and so many accounts.
    pub fn of(seed: u64, accounts: u32) -> Self {
        let train = WARM_UP_DAYS..WARM_UP_DAYS + TRAIN_DAYS;
        let valid = train.end + GAP_DAYS..train.end + GAP_DAYS + VALID_DAYS;
        let test = valid.end + GAP_DAYS..valid.end + GAP_DAYS + TEST_DAYS;
        let transfers = generate(seed, accounts, u32::try_from(test.end).unwrap_or(u32::MAX));
        let mut history = History::default();
        let mut spans = Self::default();
        for transfer in &transfers {
            let day = (transfer.at_ms - BEGIN_MS).div_euclid(DAY_MS);
            let span = match day {
                _ if train.contains(&day) => Some(&mut spans.train),
                _ if valid.contains(&day) => Some(&mut spans.valid),
                _ if test.contains(&day) => Some(&mut spans.test),
                _ => None,
            };
            if let Some(span) = span {
                span.rows.push(history.row(transfer));
                span.labels.push(transfer.is_fraud);
            }
            history.add(transfer);
        }
        spans
    }
}

/// What was before, by account: in time order, so that the newest is last.
#[derive(Default)]
struct History {
    paid: Accounts<(u32, Paid)>,
    received: Accounts<Received>,
}

/// By the number of the account.
struct Accounts<T>(Vec<Vec<T>>);

impl<T> Default for Accounts<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Accounts<T> {
    fn of(&self, account: u32) -> &[T] {
        self.0.get(account as usize).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, account: u32, item: T) {
        let at = account as usize;
        if self.0.len() <= at {
            self.0.resize_with(at + 1, Vec::new);
        }
        self.0[at].push(item);
    }
}

impl History {
    fn row(&self, transfer: &Transfer) -> Row {
        let Transfer { at_ms, payer, payee, amount, is_fraud: _ } = *transfer;
        let to_payee = |(to, paid): &(u32, Paid)| Paid { is_to_payee: *to == payee, ..*paid };
        let paid = self.paid.of(payer).iter().rev().map(to_payee);
        let paid = paid.take_while(|past| at_ms - past.at_ms < MEMORY_MS);
        let received = self.received.of(payee).iter().rev().copied();
        let received = received.take_while(|past| at_ms - past.at_ms < PAYEE_MEMORY_MS);
        Features::of(at_ms, amount, paid, received).row()
    }

    fn add(&mut self, transfer: &Transfer) {
        let Transfer { at_ms, payer, payee, amount, is_fraud } = *transfer;
        self.paid.add(payer, (payee, Paid { at_ms, amount, is_to_payee: false }));
        self.received.add(payee, Received { at_ms, is_flagged: is_fraud });
    }
}

/// Trains a model on a world with that seed.
pub fn train(seed: u64, accounts: u32) -> Model {
    train_on(&Spans::of(seed, accounts), seed, accounts)
}

/// Trains a model on spans that are there already.
pub fn train_on(spans: &Spans, seed: u64, accounts: u32) -> Model {
    let Spans { train, valid, test } = spans;
    let params = Params::default();
    let forest = learn(train, valid, &params, seed);
    let threshold = threshold_of_precision(&scores(&forest, valid), &valid.labels, PRECISION);
    // It is compared as it is written. Where no threshold is as precise, nothing is denied.
    let threshold = threshold.map_or(1.0, rounded_down);
    let metrics = judge(&forest, threshold, test);
    let frauds = test.labels.iter().filter(|is_fraud| **is_fraud).count();
    let data = Origin {
        seed,
        accounts,
        trained_on: train.rows.len(),
        tested_on: test.rows.len(),
        fraud_rate: rounded(real(frauds) / real(test.rows.len().max(1))),
    };
    Model::new(data, params, metrics, threshold, forest)
}

/// How good a model is on a set.
pub fn evaluate(model: &Model, set: &Set) -> Metrics {
    judge(model.forest(), model.threshold, set)
}

fn judge(forest: &Forest, threshold: f64, set: &Set) -> Metrics {
    let scores = scores(forest, set);
    Metrics {
        roc_auc: rounded(roc_auc(&scores, &set.labels)),
        average_precision: rounded(average_precision(&scores, &set.labels)),
        operating: at_threshold(&scores, &set.labels, threshold).rounded().into(),
    }
}

fn scores(forest: &Forest, set: &Set) -> Vec<f64> {
    set.rows.iter().map(|row| forest.score(row)).collect()
}

/// To four digits below, so that what reached it still does.
fn rounded_down(score: f64) -> f64 {
    ((score * 10_000.0).floor() / 10_000.0).max(0.0001)
}
