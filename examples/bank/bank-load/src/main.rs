//! The bank's load program: concurrent transfers with progress, a latency histogram and an audit of the accounts.

mod accounts;
mod audit;
mod load;

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use clap::Parser;
use example_load::{Host, why};

use crate::accounts::Accounts;

/// The bank's host at the gateway.
const BANK: &str = "bank.localhost";

/// Transfers money at random from many clients at once, then holds every account against what was answered.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// The gateway
    #[arg(long, default_value = "127.0.0.1:8080")]
    gateway: SocketAddr,
    /// The API key of the bank's teller, in whose name all is done
    #[arg(long, default_value = "bank-demo-teller")]
    key: String,
    /// Clients that transfer at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: u16,
    /// Accounts that are opened for it
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(2..=1000))]
    accounts: u16,
    /// The most of one transfer, in minor units
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(i64).range(1..=1_000_000))]
    amount_max: i64,
    /// How long they transfer, in seconds
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

#[tokio::main]
#[expect(clippy::print_stderr, reason = "it is the program's last word, for people")]
async fn main() -> anyhow::Result<ExitCode> {
    let Args { gateway, key, clients, accounts, amount_max, seconds } = Args::parse();
    let bank = Host::new(gateway, BANK).with_key(&key)?;
    let accounts = Accounts::open(&bank, accounts).await?;
    let plan = load::Plan { clients, amount_max, length: Duration::from_secs(seconds) };
    let run = load::run(&bank, &accounts, plan).await;
    run.print();
    let verdict = audit::audit(&bank, &accounts, &run).await?;
    verdict.print();
    let Some(why) = why(run.server_errors, run.broken, verdict.is_good()) else { return Ok(ExitCode::SUCCESS) };
    eprintln!("failed: {why}");
    Ok(ExitCode::FAILURE)
}
