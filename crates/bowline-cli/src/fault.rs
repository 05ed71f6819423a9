//! `bowline fault`: failures on purpose, to see what becomes of them.

use std::{process::ExitCode, time::Duration};

use anyhow::bail;
use bowline_model::{
    mesh::{FAULTS_MAX, Fault},
    units,
};
use bowline_runtime::{rand, time};

use crate::{
    api,
    args::{self, FaultCommand, Output},
    style, table, traffic,
};

/// Adds, lists or removes.
pub(crate) async fn run(command: FaultCommand) -> anyhow::Result<ExitCode> {
    match command {
        FaultCommand::Add(args) => add(args).await?,
        FaultCommand::List(query) => list(&query).await?,
        FaultCommand::Remove { id, query } => remove(&id, &query).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(args: args::FaultAdd) -> anyhow::Result<()> {
    let args::FaultAdd { service, delay, abort, percent, from, lasts, query } = args;
    let until_unix_ms = time::unix_millis_now().saturating_add(millis(lasts));
    let fault = Fault { id: new_id(), service, from, share: percent, delay, abort, until_unix_ms };
    let why = format!("fault {} is added: {fault}", fault.id);
    traffic::change(&query, &why, |traffic| {
        if traffic.faults.len() >= FAULTS_MAX {
            bail!("there are {FAULTS_MAX} faults already: remove some, `bowline fault list` shows them");
        }
        traffic.faults.push(fault.clone());
        Ok(())
    })
    .await?;
    match query.output {
        Output::Json => api::print_json(&fault)?,
        Output::Text => {
            style::line(&style::plain(&format!("fault {}: {fault}", fault.id)));
            let lasts = units::format_duration(lasts);
            style::line(&format!("it ends by itself after {lasts}, or with: bowline fault remove {}", fault.id));
        }
    }
    Ok(())
}

async fn list(query: &args::Query) -> anyhow::Result<()> {
    let faults = traffic::read(query).await?.faults;
    match query.output {
        Output::Json => api::print_json(&faults)?,
        Output::Text if faults.is_empty() => style::line("there are no faults"),
        Output::Text => {
            let now = time::unix_millis_now();
            let rows: Vec<Vec<String>> = faults.iter().map(|fault| row(fault, now)).collect();
            for line in table::lines(&["ID", "SERVICE", "FROM", "SHARE", "DELAY", "ABORT", "ENDS IN"], &rows) {
                style::line(&line);
            }
        }
    }
    Ok(())
}

async fn remove(id: &str, query: &args::Query) -> anyhow::Result<()> {
    traffic::change(query, &format!("fault {id} is removed"), |traffic| {
        let count = traffic.faults.len();
        traffic.faults.retain(|fault| fault.id != id);
        if traffic.faults.len() == count {
            bail!("there is no fault {id}: `bowline fault list` shows those there are");
        }
        Ok(())
    })
    .await?;
    match query.output {
        Output::Json => api::print_json(&serde_json::json!({ "removed": id }))?,
        Output::Text => style::line(&style::plain(&format!("removed {id}"))),
    }
    Ok(())
}

fn row(fault: &Fault, now: u64) -> Vec<String> {
    let Fault { id, service, from, share, delay, abort, until_unix_ms } = fault;
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    // To the second: nobody reads more.
    let left = Duration::from_secs(until_unix_ms.saturating_sub(now).div_ceil(1000));
    vec![
        id.clone(),
        service.to_string(),
        or_dash(from.as_ref().map(ToString::to_string)),
        share.to_string(),
        or_dash(delay.map(units::format_duration)),
        or_dash(abort.map(|status| status.to_string())),
        units::format_duration(left),
    ]
}

/// Short enough to be typed, and unlike the few others there are.
fn new_id() -> String {
    format!("f{:06x}", rand::u64() & 0xff_ffff)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use bowline_model::{mesh::Workload, units::Share};

    use super::*;

    #[test]
    fn a_fault_is_told_in_words_and_in_a_row() {
        let fault = Fault {
            id: "f1".to_owned(),
            service: "payment".parse().unwrap(),
            from: Some(Workload::Gateway),
            share: Share::from_percent(50),
            delay: Some(Duration::from_millis(300)),
            abort: Some(503),
            until_unix_ms: 61_500,
        };
        let expect = "50% of the requests to payment from gateway wait 300ms and are answered 503";
        assert_eq!(fault.to_string(), expect);
        assert_eq!(row(&fault, 1000).join(" "), "f1 payment gateway 50% 300ms 503 1m 1s");
        let plain = Fault { from: None, delay: None, ..fault };
        assert_eq!(plain.to_string(), "50% of the requests to payment are answered 503");
    }
}
