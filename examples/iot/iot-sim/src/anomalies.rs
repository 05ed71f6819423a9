//! What analytics found of what was wrong with the devices.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use anyhow::Context as _;
use bowline_runtime::time;
use example_load::{Connection, Host, Progress};
use iot_detect::{
    Kind, Season,
    evaluation::{Episode, Fault, Report},
};
use serde::Deserialize;

use crate::{Fleet, Patience, SAY_EVERY, Settings, account::Account, book::Book, play::Run};

/// How many are asked for at once, the most that analytics answers.
const PAGE_MAX: usize = 1000;

/// The least share of the dropouts that were told that has to be right, and of all faults that has to be found: below
/// those of `iot-detect`, as few devices have few faults.
const DROPOUT_PRECISION_MIN: f64 = 0.9;
const RECALL_MIN: f64 = 0.9;

/// What was found of what was wrong.
#[derive(Debug, Clone)]
pub struct Compared {
    /// Of each kind.
    pub report: Report,
    faults: usize,
}

/// The answer of analytics.
#[derive(Debug, Deserialize)]
struct Page {
    anomalies: Vec<Anomaly>,
}

/// An episode as analytics tells it.
#[derive(Debug, Clone, Deserialize)]
struct Anomaly {
    /// It grows.
    id: i64,
    device: String,
    kind: Kind,
    began_ms: i64,
    ended_ms: Option<i64>,
    score: f64,
}

/// What analytics has told so far.
struct Told {
    host: Host,
    connection: Connection,
    after: i64,
    episodes: BTreeMap<String, Vec<Episode>>,
    count: Arc<AtomicUsize>,
}

/// Asks analytics what it found, when it has had time to, and compares that with what was wrong; nothing where less was
/// played than a detector learns from.
///
/// # Errors
/// When analytics cannot be asked.
pub async fn compare(
    settings: &Settings,
    fleet: &Fleet,
    run: &Run,
    patience: Patience,
) -> anyhow::Result<Option<Compared>> {
    let both = fleet.accounts.iter().zip(&run.books);
    let judged: Vec<Judged> = both.filter_map(|(account, book)| Judged::new(settings, account, book)).collect();
    if judged.is_empty() {
        return Ok(None);
    }
    let host = settings.host.clone();
    let count = Arc::new(AtomicUsize::new(0));
    let mut told = Told { connection: host.connect(), host, after: 0, episodes: BTreeMap::new(), count: count.clone() };
    let _shown = Progress::every(SAY_EVERY, None, move || {
        format!("analytics has told {} anomalies, and is waited for until it has no more", count.load(Relaxed))
    });
    let mut last_news = time::now();
    loop {
        if told.read_on().await? {
            last_news = time::now();
        }
        if time::now() - last_news >= patience.quiet_max {
            return Ok(Some(Compared::of(&judged, &told.episodes)));
        }
        time::sleep(patience.pause).await;
    }
}

impl Told {
    /// Reads what is new; whether there was something.
    async fn read_on(&mut self) -> anyhow::Result<bool> {
        let before = self.after;
        loop {
            let path = format!("/anomalies?after={}&limit={PAGE_MAX}", self.after);
            let page = self.connection.insist(&self.host.get(&path)).await?;
            let Page { anomalies } = serde_json::from_slice(&page).context("anomalies cannot be read")?;
            let count = anomalies.len();
            for Anomaly { id, device, kind, began_ms, ended_ms, score } in anomalies {
                self.after = self.after.max(id);
                let episode = Episode { kind, from_ms: began_ms, to_ms: ended_ms, score };
                self.episodes.entry(device).or_default().push(episode);
            }
            self.count.fetch_add(count, Relaxed);
            if count < PAGE_MAX {
                return Ok(self.after > before);
            }
        }
    }
}

impl Compared {
    /// What is below the floors, a line each. That nothing was found, and nothing was wrong, is below them.
    pub fn misses(&self) -> Vec<String> {
        let dropouts = self.report.precision(Kind::Dropout).unwrap_or_default();
        let recall = self.report.recall_of_all().unwrap_or_default();
        let shares = [("precision of dropout", dropouts, DROPOUT_PRECISION_MIN), ("recall", recall, RECALL_MIN)];
        let missed = shares.into_iter().filter(|(_, share, least)| share < least);
        missed.map(|(name, share, least)| format!("{name} is {share:.3}, below {least}")).collect()
    }

    fn of(judged: &[Judged], episodes: &BTreeMap<String, Vec<Episode>>) -> Self {
        let mut compared = Self { report: Report::default(), faults: 0 };
        for Judged { id, faults, from_ms, until_ms } in judged {
            // Those of earlier runs, and that it says nothing any more, are none of its business.
            let span = *from_ms..*until_ms;
            let of_run = |episode: &&Episode| span.contains(&episode.from_ms);
            let found: Vec<Episode> = episodes.get(id).into_iter().flatten().filter(of_run).copied().collect();
            compared.report.add(faults, &found, until_ms - from_ms - Season::Daily.warm_up_ms());
            compared.faults += faults.len();
        }
        compared
    }
}

/// A device that was read for long enough.
#[derive(Debug, Clone)]
struct Judged {
    id: String,
    /// What was wrong with what it read.
    faults: Vec<Fault>,
    from_ms: i64,
    until_ms: i64,
}

impl Judged {
    fn new(settings: &Settings, account: &Account, book: &Book) -> Option<Self> {
        let device = account.device(settings);
        let from_ms = settings.plan.start_ms;
        let until_ms = book.made.last()?.at_ms.min(device.end_ms());
        let faults = device.faults().into_iter().filter(|fault| fault.from_ms < until_ms).collect();
        let is_judged = until_ms - from_ms > Season::Daily.warm_up_ms();
        is_judged.then(|| Self { id: account.id.clone(), faults, from_ms, until_ms })
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "anomalies, against {} faults that are known\n{}", self.faults, self.report)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bowline_testkit::{Answer, HttpServer};
    use serde_json::json;

    use super::*;

    const PATIENCE: Patience = Patience { pause: Duration::from_millis(1), quiet_max: Duration::from_millis(50) };

    /// Devices that have read everything, and an analytics that finds each fault at once, and something else of the
    /// first device.
    async fn compared(days: i64) -> Option<Compared> {
        let addr = ([127, 0, 0, 1], 1).into();
        let settings = Settings { devices: 3, ..Settings::new(addr, addr, "k").unwrap().days(days) };
        let account = |number| Account { number, id: format!("d-1-{number}"), token: String::new() };
        let fleet = Fleet { accounts: (0..3).map(account).collect() };
        let (mut found, mut books) = (Vec::new(), Vec::new());
        for account in &fleet.accounts {
            let mut book = Book::new(account.id.clone(), 0);
            account.device(&settings).for_each(|reading| book.push(reading));
            books.push(book);
            let mut find = |kind: Kind, began_ms: i64| {
                let (id, device) = (found.len() + 1, &account.id);
                found.push(json!({"id": id, "device": device, "kind": kind, "began_ms": began_ms, "ended_ms": null, "score": 0.5}));
            };
            find(Kind::Spike, settings.plan.start_ms - 1);
            for fault in account.device(&settings).faults() {
                find(fault.kind.unwrap(), fault.from_ms + 60_000);
            }
            if account.number == 0 {
                find(Kind::Drift, settings.plan.start_ms + 1);
            }
            find(Kind::Dropout, account.device(&settings).end_ms() + 1);
        }
        // It has not found everything at once.
        let asked = AtomicUsize::new(0);
        let server = HttpServer::start(move |request| {
            let there = found.len().min(5 * (1 + asked.fetch_add(1, Relaxed)));
            let after: usize = request.path.split(['=', '&']).nth(1).unwrap().parse().unwrap();
            Answer::Status(200, json!({"anomalies": found[after..there]}).to_string())
        });
        let settings = Settings { host: Host::new(server.addr(), crate::HOST), ..settings };
        compare(&settings, &fleet, &Run::of(books), PATIENCE).await.unwrap()
    }

    #[tokio::test]
    async fn what_was_found_is_held_against_what_was_wrong() {
        let Compared { report, faults } = compared(6).await.unwrap();
        assert_eq!(faults, 3);
        for kind in Kind::ALL {
            if let Some(recall) = report.recall(Some(kind)) {
                assert!(recall > 0.99, "{report}");
                assert_eq!(report.delay_ms(Some(kind), 0.5), Some(60_000));
            }
        }
        assert!(report.precision(Kind::Drift).unwrap() < 1.0, "{report}");
        assert!((report.wrong_per_day() - 1.0 / 9.0).abs() < 0.01, "{report}");
    }

    #[test]
    fn what_is_below_the_floors_is_said() {
        let fault = |kind, from_ms| Fault { kind: Some(kind), from_ms, to_ms: from_ms + 1 };
        let episode = |kind, from_ms| Episode { kind, from_ms, to_ms: None, score: 1.0 };
        let day = iot_detect::DAY_MS;
        let faults: Vec<Fault> = (0..10).map(|number| fault(Kind::Dropout, number * day)).collect();
        let mut found: Vec<Episode> = (0..9).map(|number| episode(Kind::Dropout, number * day)).collect();
        found.push(episode(Kind::Dropout, 20 * day));
        let misses = |faults: &[Fault], found: &[Episode]| {
            let mut compared = Compared { report: Report::default(), faults: faults.len() };
            compared.report.add(faults, found, 30 * day);
            compared.misses()
        };
        assert_eq!(misses(&faults, &found), [""; 0]);
        found.push(episode(Kind::Dropout, 25 * day));
        assert_eq!(misses(&faults, &found), ["precision of dropout is 0.818, below 0.9"]);
        assert_eq!(misses(&faults, &found[1..9]), ["recall is 0.800, below 0.9"]);
        assert_eq!(misses(&[], &[]).len(), 2);
    }

    #[tokio::test]
    async fn less_than_is_learned_from_is_not_judged() {
        assert!(compared(2).await.is_none());
    }
}
