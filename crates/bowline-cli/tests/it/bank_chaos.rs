//! Transfers while services are killed, and stand still: each ends in one state, and no money is made or lost.

use std::{process::Stdio, time::Duration};

use bowline_runtime::{rand, time};
use rustix::process::{Signal, kill_process};
use tokio::process::{Child, Command};

use crate::{
    bank::{TELLER, get, lenient},
    chaos::{kill, signal},
    harness::{PATIENCE, Running, eventually, programs},
};

/// Clients, and accounts that are opened for them.
const CLIENTS: usize = 64;

/// How long transaction stands still at the end.
const STOPPED_FOR: Duration = Duration::from_secs(2);

/// What the load program gives each account, in minor units.
const DEPOSIT: i64 = 100_000;

/// Kills instances: where the money is first, then of services by chance, and stops one at the end; whose it killed
/// while the load program ran.
async fn strike(running: &Running, load: &mut Child, kills: usize, seconds: usize) -> Vec<&'static str> {
    let mut killed = Vec::new();
    for number in 0..kills {
        let pause = Duration::from_millis(500 + rand::below(seconds * 1000 / kills - 500) as u64);
        // tidy: sleep: the time between two crashes, which is up to chance.
        time::sleep(pause).await;
        let service = match number {
            0 => "transaction",
            1 => "account",
            _ => ["transaction", "account", "risk", "ml"][rand::below(4)],
        };
        kill(running, service).await;
        if load.try_wait().unwrap().is_none() {
            killed.push(service);
        }
    }
    let stopped = signal(running, "transaction", Signal::STOP).await;
    // tidy: sleep: for so long it stands still, in the middle of whatever it does.
    time::sleep(STOPPED_FOR).await;
    kill_process(stopped, Signal::CONT).unwrap();
    killed
}

/// The first number on the line that begins so.
fn number_after(report: &str, label: &str) -> i64 {
    let line = report.lines().find(|line| line.trim_start().starts_with(label));
    let line = line.unwrap_or_else(|| panic!("no {label} in {report}"));
    let digits = line.split(|c: char| !c.is_ascii_digit()).find(|word| !word.is_empty());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no number in {line}"))
}

#[tokio::test]
async fn no_money_is_made_or_lost_whatever_is_killed() {
    let home = lenient();
    let mut running = home.up().await;
    let is_long = std::env::var_os("BOWLINE_TEST_LONG").is_some();
    let (seconds, kills) = if is_long { (30, 12) } else { (8, 4) };
    let mut load = Command::new(programs().join("bank-load"));
    load.args(["--gateway", &running.gateway().to_string(), "--key", TELLER, "--seconds", &seconds.to_string()]);
    load.args(["--clients", &CLIENTS.to_string(), "--accounts", &CLIENTS.to_string()]);
    let mut load = load.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let seed = std::env::var("BOWLINE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::u64);
    println!("BOWLINE_TEST_SEED={seed}");
    rand::seed(seed);
    // Not before there is something to lose.
    let is_moving =
        async || get(&running, TELLER, "/transfers?state=settled&limit=1").await.json() != serde_json::json!([]);
    assert!(eventually(PATIENCE, is_moving).await, "{}", running.output());
    let killed = strike(&running, &mut load, kills, seconds).await;
    println!("killed: {killed:?}");
    let is_shown = killed.contains(&"transaction") && killed.contains(&"account");
    assert!(is_shown, "the load had ended before both were killed, this shows nothing: {killed:?}");
    let output = load.wait_with_output().await.unwrap();
    let (report, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{report}\n{errors}");
    // Answers that did not come while their service was dead are no loss.
    let verdict = "every transfer ended once, and the money is where it should be";
    assert!(report.contains(verdict), "{report}\n{errors}\n{}", running.output());
    assert!(number_after(&report, "settled") > 0, "no money was moved: this shows nothing");
    assert!(number_after(&report, "keys used twice at once") > 0, "{report}");
    everything_ended(&running).await;
    running.stop().await;
}

/// Nothing is under way any more, the books are right, and everybody was told.
async fn everything_ended(running: &Running) {
    let under_way = async || {
        let mut count = 0;
        for phase in ["acting", "undoing", "stuck"] {
            let list = running.api_json(&format!("/v1/sagas?service=transaction&phase={phase}")).await;
            assert_eq!(list["missing"].as_array().map_or(0, Vec::len), 0, "{list}");
            count += list["sagas"].as_array().unwrap().len();
        }
        count
    };
    assert!(eventually(PATIENCE, async || under_way().await == 0).await, "{} go on", under_way().await);
    let pending = get(running, TELLER, "/transfers?state=pending&limit=1000").await.json();
    assert_eq!(pending, serde_json::json!([]));
    // Nobody else brought money in.
    let ledger = get(running, TELLER, "/ledger").await.json();
    let euros = ledger["currencies"].as_array().unwrap().iter().find(|books| books["currency"] == "EUR").unwrap();
    assert_eq!((&ledger["balanced"], &euros["sum"], &euros["held"]), (&true.into(), &0.into(), &0.into()), "{ledger}");
    assert_eq!(euros["customers"], i64::try_from(CLIENTS).unwrap() * DEPOSIT, "{ledger}");
    for topic in ["account.posted", "transfer.settled", "transfer.declined"] {
        assert!(eventually(PATIENCE, async || lag(running, topic).await == 0).await, "{topic}");
        let dead = running.api_json(&format!("/v1/topics/{topic}/dead")).await;
        assert_eq!(dead["letters"], serde_json::json!([]), "{topic}");
    }
    let settled = get(running, TELLER, "/transfers?state=settled&limit=1000").await.json();
    for transfer in settled.as_array().unwrap() {
        assert!(transfer["posted_at_ms"].is_i64(), "account did not tell of {transfer}");
    }
}

/// The lag of all groups of a topic.
async fn lag(running: &Running, topic: &str) -> u64 {
    let topics = running.api_json("/v1/topics").await;
    let topics = topics["topics"].as_array().unwrap();
    let found = topics.iter().find(|found| found["name"] == topic).unwrap();
    found["groups"].as_array().unwrap().iter().map(|group| group["lag"].as_u64().unwrap()).sum()
}
