//! The shop's load program: concurrent orders with progress, a latency histogram and an audit of the ledger.

mod audit;
mod customers;
mod load;
mod logins;

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use example_load::{Host, why};

use crate::{
    customers::{Customers, SEEDED},
    logins::Coming,
};

/// The shop's host at the gateway.
const SHOP: &str = "shop.localhost";

/// Places orders from many clients at once, then holds the bank's ledger against the paid orders.
#[derive(Debug, Clone, Parser)]
struct Args {
    #[command(subcommand)]
    load: Option<Load>,
    /// The gateway
    #[arg(long, default_value = "127.0.0.1:8080", global = true)]
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

/// What else than orders.
#[derive(Debug, Clone, Copy, Subcommand)]
enum Load {
    /// Signs customers in, and says what became of the logins
    Logins(Coming),
}

#[tokio::main]
#[expect(clippy::print_stderr, reason = "it is the program's last word, for people")]
async fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let shop = Host::new(args.gateway, SHOP);
    if let Some(Load::Logins(coming)) = args.load {
        logins::run(&shop, coming).await?;
        return Ok(ExitCode::SUCCESS);
    }
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
