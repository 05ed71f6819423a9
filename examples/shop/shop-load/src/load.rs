//! The load itself: clients that order as fast as they are answered.

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

use crate::customers::{Customer, Customers};

/// What a book costs, in minor units.
pub(crate) const PRICE: u64 = 1999;

/// An order as the shop answers it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) total: u64,
    pub(crate) status: String,
}

/// An order that was acknowledged, and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    pub(crate) customer: Arc<Customer>,
    pub(crate) order: Order,
}

/// A request for an order, to be asked again under its key where it is not answered.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) customer: Arc<Customer>,
    key: String,
    body: serde_json::Value,
}

impl Asked {
    /// One to three books for a customer.
    pub(crate) fn new(customer: Arc<Customer>, key: String) -> Self {
        let items = serde_json::json!([{"sku": "book", "quantity": 1 + rand::below(3), "unit_price": PRICE}]);
        let body = serde_json::json!({"user_id": customer.id, "items": items});
        Self { customer, key, body }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Asks, in the customer's name.
    pub(crate) async fn send(&self, shop: &Host, connection: &mut Connection) -> anyhow::Result<(StatusCode, Bytes)> {
        let request = shop.post_once("/orders", &self.body, &self.key);
        connection.send(self.customer.sign(request).await?).await
    }
}

/// What a run brought.
#[derive(Debug)]
pub(crate) struct Run {
    /// Orders answered with 201.
    pub(crate) placed: Vec<Placed>,
    /// Requests that were not answered with 201, to be asked again.
    pub(crate) unanswered: Vec<Asked>,
    /// Answers of 500 and above.
    pub(crate) server_errors: u64,
    /// Answers below 500 that are not 201.
    pub(crate) refused: u64,
    /// Requests without an answer.
    pub(crate) broken: u64,
    took: Duration,
    latencies: Latencies,
}

#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU64,
    failed: AtomicU64,
}

/// Lets so many clients order for so long, each order for the customer whose turn it is.
pub(crate) async fn run(shop: &Host, customers: Customers, clients: u16, length: Duration) -> Run {
    let begun = time::now();
    let counts = Arc::new(Counts::default());
    let _shown = Progress::show(Some(length), say(counts.clone()));
    let (run_id, customers) = (rand::u64(), Arc::new(customers));
    let mut running = JoinSet::new();
    for client in 0..clients {
        let name = format!("load-{run_id:016x}-{client}");
        running.spawn(order_until(shop.clone(), customers.clone(), begun + length, name, counts.clone()));
    }
    let mut total = Run::empty();
    while let Some(part) = running.join_next().await {
        total.add(part.expect("a client does not panic"));
    }
    total.took = time::now() - begun;
    total
}

async fn order_until(shop: Host, customers: Arc<Customers>, end: Instant, name: String, counts: Arc<Counts>) -> Run {
    let mut run = Run::empty();
    let mut connection = shop.connect();
    for number in 0_u64.. {
        if time::now() >= end {
            break;
        }
        let asked = Asked::new(customers.next(), format!("{name}-{number}"));
        let begun = time::now();
        let answer = asked.send(&shop, &mut connection).await;
        run.latencies.record(time::now() - begun);
        let was_placed = run.take(asked, answer);
        let count = if was_placed { &counts.answered } else { &counts.failed };
        count.fetch_add(1, Relaxed);
        if !was_placed {
            time::sleep(PAUSE_AFTER_FAILURE).await;
        }
    }
    run
}

/// How far the run is.
fn say(counts: Arc<Counts>) -> impl FnMut() -> String {
    let mut last = 0;
    move || {
        let (answered, failed) = (counts.answered.load(Relaxed), counts.failed.load(Relaxed));
        let text = format!("{:>6} orders/s  {answered} placed  {failed} failed", answered - last);
        last = answered;
        text
    }
}

impl Run {
    pub(crate) fn empty() -> Self {
        Self {
            placed: Vec::new(),
            unanswered: Vec::new(),
            server_errors: 0,
            refused: 0,
            broken: 0,
            took: Duration::ZERO,
            latencies: Latencies::default(),
        }
    }

    fn add(&mut self, part: Self) {
        let Self { placed, unanswered, server_errors, refused, broken, took: _, latencies } = part;
        self.placed.extend(placed);
        self.unanswered.extend(unanswered);
        self.server_errors += server_errors;
        self.refused += refused;
        self.broken += broken;
        self.latencies.add(&latencies);
    }

    /// Books one answer; whether an order was placed.
    fn take(&mut self, asked: Asked, answer: anyhow::Result<(StatusCode, Bytes)>) -> bool {
        match answer {
            Ok((status, bytes)) if status == 201 => {
                if let Ok(order) = serde_json::from_slice(&bytes) {
                    self.placed.push(Placed { customer: asked.customer, order });
                    return true;
                }
                self.broken += 1;
            }
            Ok((status, _)) if status.is_server_error() => self.server_errors += 1,
            Ok(_) => self.refused += 1,
            Err(_) => self.broken += 1,
        }
        self.unanswered.push(asked);
        false
    }

    /// Prints counts and the latency histogram.
    #[expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "it is the program's answer, for people")]
    pub(crate) fn print(&self) {
        let rate = self.placed.len() as f64 / self.took.as_secs_f64();
        println!("\n{} orders in {:.1} s: {rate:.0} orders/s", self.placed.len(), self.took.as_secs_f64());
        println!("5xx {}   other refusals {}   no answer {}", self.server_errors, self.refused, self.broken);
        println!("{}", self.latencies);
    }
}
