//! The shop's load program: concurrent orders with progress, a latency histogram and an audit of the ledger.

mod audit;
mod customers;
mod load;

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use clap::Parser;
use example_load::{Host, why};

use crate::customers::{Customers, SEEDED};

/// The shop's host at the gateway.
const SHOP: &str = "shop.localhost";

/// Places orders from many clients at once, then holds the bank's ledger against the paid orders.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// The gateway
    #[arg(long, default_value = "127.0.0.1:8080")]
    gateway: SocketAddr,
    /// Clients that order at once
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: u16,
    /// Users that order in turn, of those the shop has for this
    #[arg(long, default_value_t = SEEDED, value_parser = clap::value_parser!(u16).range(1..=i64::from(SEEDED)))]
    users: u16,
    /// How long they order, in seconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

#[tokio::main]
#[expect(clippy::print_stderr, reason = "it is the program's last word, for people")]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let shop = Host::new(args.gateway, SHOP);
    let before = audit::look(args.gateway).await?;
    let customers = Customers::sign_in(&shop, args.users).await?;
    let run = load::run(&shop, customers, args.clients, Duration::from_secs(args.seconds)).await;
    run.print();
    let verdict = audit::audit(args.gateway, before, &run).await?;
    verdict.print();
    let Some(why) = why(run.server_errors, run.broken, verdict.is_good()) else { return Ok(ExitCode::SUCCESS) };
    eprintln!("failed: {why}");
    Ok(ExitCode::FAILURE)
}
