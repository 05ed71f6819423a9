//! The load itself: clients that order as fast as they are answered.

use std::{
    io::{IsTerminal, Write as _},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_runtime::{
    rand,
    task::{self, Guarded, JoinSet},
    time::{self, Instant},
};
use hdrhistogram::Histogram;
use serde::Deserialize;

use crate::{
    customers::{Customer, Customers},
    http::{self, Connection, SHOP},
};

/// What a book costs, in minor units.
pub(crate) const PRICE: u64 = 1999;

/// How long a client waits after a failure.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

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
    pub(crate) async fn send(&self, connection: &mut Connection) -> anyhow::Result<(::http::StatusCode, bytes::Bytes)> {
        let mut request = http::post(SHOP, "/orders", &self.body);
        request.headers_mut().insert("idempotency-key", ::http::HeaderValue::try_from(&self.key)?);
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
    latency_us: Histogram<u64>,
}

#[derive(Debug, Default)]
struct Progress {
    answered: AtomicU64,
    failed: AtomicU64,
}

/// Lets so many clients order for so long, each order for the customer whose turn it is.
pub(crate) async fn run(gateway: SocketAddr, customers: Customers, clients: u16, length: Duration) -> Run {
    let begun = time::now();
    let progress = Arc::new(Progress::default());
    let _shown = Guarded::new(task::spawn(show(progress.clone(), begun, length)));
    let (run_id, customers) = (rand::u64(), Arc::new(customers));
    let mut running = JoinSet::new();
    for client in 0..clients {
        let name = format!("load-{run_id:016x}-{client}");
        running.spawn(order_until(gateway, customers.clone(), begun + length, name, progress.clone()));
    }
    let mut total = Run::empty();
    while let Some(part) = running.join_next().await {
        total.add(part.expect("a client does not panic"));
    }
    total.took = time::now() - begun;
    total
}

async fn order_until(
    gateway: SocketAddr,
    customers: Arc<Customers>,
    end: Instant,
    name: String,
    progress: Arc<Progress>,
) -> Run {
    let mut run = Run::empty();
    let mut connection = Connection::new(gateway);
    for number in 0_u64.. {
        if time::now() >= end {
            break;
        }
        let asked = Asked::new(customers.next(), format!("{name}-{number}"));
        let begun = time::now();
        let answer = asked.send(&mut connection).await;
        let took = u64::try_from((time::now() - begun).as_micros()).unwrap_or(u64::MAX);
        run.latency_us.saturating_record(took);
        let was_placed = run.take(asked, answer);
        let count = if was_placed { &progress.answered } else { &progress.failed };
        count.fetch_add(1, Relaxed);
        if !was_placed {
            // A gateway that is away would otherwise be asked as fast as it refuses.
            time::sleep(PAUSE_AFTER_FAILURE).await;
        }
    }
    run
}

/// Shows every second how far the run is; on one line where it can be rewritten.
async fn show(progress: Arc<Progress>, begun: Instant, length: Duration) {
    let is_terminal = std::io::stderr().is_terminal();
    let (mut last, mut ticks) = (0, time::interval(Duration::from_secs(1)));
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let (answered, failed) = (progress.answered.load(Relaxed), progress.failed.load(Relaxed));
        let elapsed = (time::now() - begun).as_secs();
        let (start, end) = if is_terminal { ("\r", "\x1b[K") } else { ("", "\n") };
        let text = format!(
            "{start}{elapsed:>4} of {} s  {:>6} orders/s  {answered} placed  {failed} failed{end}",
            length.as_secs(),
            answered - last
        );
        let _closed = std::io::stderr().write_all(text.as_bytes());
        last = answered;
    }
}

impl Run {
    pub(crate) fn empty() -> Self {
        let latency_us = Histogram::new_with_bounds(1, 120_000_000, 3).expect("the bounds are sound");
        Self {
            placed: Vec::new(),
            unanswered: Vec::new(),
            server_errors: 0,
            refused: 0,
            broken: 0,
            took: Duration::ZERO,
            latency_us,
        }
    }

    fn add(&mut self, part: Self) {
        let Self { placed, unanswered, server_errors, refused, broken, took: _, latency_us } = part;
        self.placed.extend(placed);
        self.unanswered.extend(unanswered);
        self.server_errors += server_errors;
        self.refused += refused;
        self.broken += broken;
        self.latency_us += latency_us;
    }

    /// Books one answer; whether an order was placed.
    fn take(&mut self, asked: Asked, answer: anyhow::Result<(::http::StatusCode, bytes::Bytes)>) -> bool {
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
        println!("latency, ms");
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
            println!("  {name:<6} {:>9.2}", self.latency_us.value_at_quantile(quantile) as f64 / 1e3);
        }
        println!("histogram");
        let most = self.latency_us.iter_log(500, 2.0).map(|step| step.count_since_last_iteration()).max().unwrap_or(1);
        for step in self.latency_us.iter_log(500, 2.0) {
            let count = step.count_since_last_iteration();
            let bar = "█".repeat(usize::try_from((count * 40).div_ceil(most.max(1))).unwrap_or(40));
            println!("  ≤ {:>8.1} ms {count:>8} {bar}", step.value_iterated_to() as f64 / 1e3);
        }
    }
}
