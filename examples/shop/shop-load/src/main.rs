//! The shop's load program: concurrent orders with progress, a latency histogram and an audit of the ledger.

mod audit;
mod customers;
mod http;
mod load;

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use clap::Parser;

use crate::customers::{Customers, SEEDED};

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
    let before = audit::look(args.gateway).await?;
    let customers = Customers::sign_in(args.gateway, args.users).await?;
    let run = load::run(args.gateway, customers, args.clients, Duration::from_secs(args.seconds)).await;
    run.print();
    let verdict = audit::audit(args.gateway, before, &run).await?;
    verdict.print();
    let is_good = run.server_errors == 0 && run.broken == 0 && verdict.is_good();
    if !is_good {
        eprintln!("failed: {}", why(&run, verdict.is_good()));
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What was not as it should be: answers and audit are told apart, since a failed answer loses no order.
fn why(run: &load::Run, is_audit_good: bool) -> String {
    let answers = format!("{} answers were a 5xx and {} did not come", run.server_errors, run.broken);
    match (run.server_errors + run.broken, is_audit_good) {
        (0, _) => "the audit found a difference".to_owned(),
        (_, true) => format!("{answers}; the audit found nothing lost"),
        (_, false) => format!("{answers}, and the audit found a difference"),
    }
}
