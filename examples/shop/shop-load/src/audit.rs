//! The audit: every order that was acknowledged is there, and the bank moved exactly their money.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, ensure};
use bowline_runtime::time;
use serde::Deserialize;

use crate::{
    http::{self, Connection},
    load::{Order, Run, SHOP},
};

/// The bank's sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct Ledger {
    pub(crate) settled: u64,
    pub(crate) amount: u64,
}

/// How often an unanswered order is asked for again before the audit gives up.
const ASKED_AGAIN_MAX: u32 = 20;

/// What the audit found.
#[derive(Debug)]
pub(crate) struct Verdict {
    asked_again: usize,
    lost: Vec<String>,
    paid: (u64, u64),
    ledger: (u64, u64),
}

/// The bank's ledger now.
pub(crate) async fn ledger(gateway: SocketAddr) -> anyhow::Result<Ledger> {
    let (status, body) = Connection::new(gateway).send(http::get("bank.localhost", "/ledger")).await?;
    ensure!(status == 200, "the bank's ledger answered {status}");
    serde_json::from_slice(&body).context("the bank's ledger cannot be read")
}

/// Asks again for what was not answered, looks up every order, and compares the sums.
pub(crate) async fn audit(gateway: SocketAddr, before: Ledger, run: &Run) -> anyhow::Result<Verdict> {
    let mut connection = Connection::new(gateway);
    let mut orders = run.orders.clone();
    for (key, body) in &run.unanswered {
        orders.push(ask_again(&mut connection, key, body).await?);
    }
    let mut lost = Vec::new();
    for order in &orders {
        let (status, body) = connection.send(http::get(SHOP, &format!("/orders/{}", order.id))).await?;
        let is_kept = status == 200 && serde_json::from_slice::<Order>(&body).is_ok_and(|kept| kept == *order);
        if !is_kept {
            lost.push(order.id.clone());
        }
    }
    let after = ledger(gateway).await?;
    let paid = orders.iter().filter(|order| order.status == "paid");
    let paid = paid.fold((0, 0), |(count, amount), order| (count + 1, amount + order.total));
    let ledger = (after.settled - before.settled, after.amount - before.amount);
    Ok(Verdict { asked_again: run.unanswered.len(), lost, paid, ledger })
}

async fn ask_again(connection: &mut Connection, key: &str, body: &serde_json::Value) -> anyhow::Result<Order> {
    for _ in 0..ASKED_AGAIN_MAX {
        if let Ok((status, answer)) = connection.send(http::post(SHOP, "/orders", key, body)).await
            && status == 201
        {
            return Ok(serde_json::from_slice(&answer)?);
        }
        time::sleep(Duration::from_millis(500)).await;
    }
    anyhow::bail!("the order under the key {key} is not answered, asked {ASKED_AGAIN_MAX} times again")
}

impl Verdict {
    /// Nothing lost, and the ledger is the paid orders.
    pub(crate) fn is_good(&self) -> bool {
        self.lost.is_empty() && self.paid == self.ledger
    }

    /// Prints it.
    #[expect(clippy::print_stdout, reason = "it is the program's answer, for people")]
    pub(crate) fn print(&self) {
        let Self { asked_again, lost, paid, ledger } = self;
        println!("audit");
        println!("  asked again under the same key: {asked_again}");
        println!("  acknowledged orders that are not there: {} {}", lost.len(), lost.join(" "));
        println!("  paid orders: {} for {}; the bank's ledger: {} for {}", paid.0, paid.1, ledger.0, ledger.1);
        println!("  {}", if self.is_good() { "the ledger equals the paid orders" } else { "THE LEDGER DIFFERS" });
    }
}
