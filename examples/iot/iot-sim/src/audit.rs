//! The audit: every reading that was acknowledged is in its series, once, as it was read, and nothing else is.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use bowline_runtime::{
    task::JoinSet,
    time::{self, Instant},
};
use example_load::{Connection, Host, Progress, rewrite};
use http::StatusCode;
use iot_detect::{DAY_MS, Reading};
use serde::Deserialize;

use crate::{SAY_EVERY, Settings, book::Book, now_ms, play::Run, shares};

/// How many of a kind are named.
const NAMED_MAX: usize = 10;

/// How far after now a reading may be.
const AHEAD_MS: i64 = 10 * 60 * 1000;

/// How long the audit waits for what has been acknowledged and is not there yet.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Before it looks again.
    pub pause: Duration,
    /// Since anything came last, of any device: what is acknowledged is durable in the broker, and takes its time. Only
    /// time in which the system answers counts.
    pub quiet_max: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { pause: Duration::from_secs(1), quiet_max: Duration::from_mins(2) }
    }
}

/// What the audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Readings that were acknowledged, and are held against the series.
    pub acknowledged: usize,
    /// Acknowledged, and not there.
    pub lost: Named,
    /// There more than once.
    pub doubled: Named,
    /// There with another value or time.
    pub changed: Named,
    /// There, and never made.
    pub foreign: Named,
    /// There without having been acknowledged: the acknowledgement was lost, not the reading.
    pub unacknowledged: usize,
}

/// Some readings: how many, and the first of them by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// How many.
    pub count: usize,
    /// The first of them.
    pub first: Vec<String>,
}

/// A device's series as it is answered.
#[derive(Debug, Deserialize)]
struct Series {
    points: Vec<Point>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Point {
    at_ms: i64,
    sequence: i64,
    value: f64,
}

/// The hours of a series.
#[derive(Debug, Deserialize)]
struct Rolled {
    points: Vec<Hour>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Hour {
    count: usize,
}

/// How long nothing came, of any device, and how many have been held against their series.
#[derive(Debug)]
struct Quiet {
    /// The most that a look adds to it.
    look_max: Duration,
    since: Mutex<(Instant, Duration)>,
    held: AtomicUsize,
}

/// Holds what was acknowledged against the series, when it has had time to come.
///
/// # Errors
/// When the series cannot be read.
pub async fn audit(settings: &Settings, run: &Run, patience: Patience) -> anyhow::Result<Verdict> {
    let (mut verdict, mut looking) = (Verdict::default(), JoinSet::new());
    let (tell, mut told) = tokio::sync::mpsc::channel(run.books.len().max(1));
    let quiet = Arc::new(Quiet::new(patience));
    let (saying, all, max_s) = (quiet.clone(), run.books.len(), patience.quiet_max.as_secs());
    let _shown = Progress::every(SAY_EVERY, None, move || {
        let (held, quiet_s) = (saying.held.load(Relaxed), saying.so_far().as_secs());
        format!("audited {held} of {all}; what is not there yet is waited for: nothing came for {quiet_s} of {max_s} s")
    });
    let span = (settings.plan.start_ms - DAY_MS, now_ms() + AHEAD_MS);
    for share in shares(&run.books) {
        let (host, share, tell, quiet) = (settings.host.clone(), share.to_vec(), tell.clone(), quiet.clone());
        looking.spawn(async move {
            let mut reader = Reader { connection: host.connect(), host, span };
            for book in &share {
                tell.send(reader.hold(book, patience, &quiet).await?).await.context("nobody listens")?;
            }
            anyhow::Ok(())
        });
    }
    drop(tell);
    while let Some(one) = told.recv().await {
        rewrite("audited", 1 + quiet.held.fetch_add(1, Relaxed), run.books.len());
        verdict.add(one);
    }
    while let Some(share) = looking.join_next().await {
        share.context("the audit panicked")??;
    }
    Ok(verdict)
}

/// Reads series through the gateway.
struct Reader {
    host: Host,
    connection: Connection,
    /// From when to when, in milliseconds since 1970.
    span: (i64, i64),
}

impl Reader {
    /// Holds a book against its series, when all of it is there, or nothing comes any more.
    async fn hold(&mut self, book: &Book, patience: Patience, quiet: &Quiet) -> anyhow::Result<Verdict> {
        loop {
            let counted = self.count(&book.id).await?;
            let verdict = Verdict::of(book, &self.series(&book.id).await?);
            let lost = verdict.lost.count;
            if lost == 0 || !self.wait(&book.id, (counted, counted + lost), patience, quiet).await? {
                return Ok(verdict);
            }
        }
    }

    /// Waits until a series has as many readings as are awaited; whether any came.
    ///
    /// It looks at hours, which are few: whoever reads everything again and again keeps `data` from storing the rest.
    async fn wait(
        &mut self,
        id: &str,
        (before, awaited): (usize, usize),
        patience: Patience,
        quiet: &Quiet,
    ) -> anyhow::Result<bool> {
        let mut there = before;
        while there < awaited {
            time::sleep(patience.pause).await;
            let now = self.count(id).await?;
            if quiet.look(now > there) >= patience.quiet_max {
                return Ok(now > before);
            }
            there = now;
        }
        Ok(true)
    }

    /// How many readings a series has.
    async fn count(&mut self, id: &str) -> anyhow::Result<usize> {
        let (from_ms, to_ms) = self.span;
        let request = self.host.get(&format!("/series/{id}?from={from_ms}&to={to_ms}&step=1h"));
        let rolled = self.connection.insist(&request).await?;
        let rolled: Rolled = serde_json::from_slice(&rolled).context("the hours of a series cannot be read")?;
        Ok(rolled.points.iter().map(|hour| hour.count).sum())
    }

    /// All of a series: where an answer would have too many, by halves.
    async fn series(&mut self, id: &str) -> anyhow::Result<Vec<Point>> {
        let (mut points, mut spans) = (Vec::new(), vec![self.span]);
        while let Some((from_ms, to_ms)) = spans.pop() {
            let request = self.host.get(&format!("/series/{id}?from={from_ms}&to={to_ms}"));
            match self.connection.ask(&request).await? {
                (StatusCode::UNPROCESSABLE_ENTITY, _) if to_ms - from_ms > 1 => {
                    let middle_ms = from_ms.midpoint(to_ms);
                    spans.extend([(from_ms, middle_ms), (middle_ms, to_ms)]);
                }
                (status, body) if status.is_success() => {
                    let series: Series = serde_json::from_slice(&body).context("a series cannot be read")?;
                    points.extend(series.points);
                }
                (status, body) => bail!("the series of {id}: {status}: {}", String::from_utf8_lossy(&body)),
            }
        }
        Ok(points)
    }
}

impl Quiet {
    fn new(patience: Patience) -> Self {
        let since = Mutex::new((time::now(), Duration::ZERO));
        Self { look_max: patience.pause * 2, since, held: AtomicUsize::new(0) }
    }

    /// Somebody has looked, and something came, or nothing: how long it is quiet by now.
    ///
    /// A series that cannot be read is no sign that nothing comes: where an answer took its time, or was asked for
    /// again and again, hardly more than the pause before a look counts.
    fn look(&self, has_come: bool) -> Duration {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let (looked, quiet) = *since;
        let now = time::now();
        let quiet = if has_come { Duration::ZERO } else { quiet + (now - looked).min(self.look_max) };
        *since = (now, quiet);
        quiet
    }

    fn so_far(&self) -> Duration {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

impl Verdict {
    /// What a series makes of a book. What is there of earlier runs is none of its business.
    fn of(book: &Book, points: &[Point]) -> Self {
        let (mut verdict, mut seen) = (Self::default(), vec![false; book.made()]);
        for Point { at_ms, sequence, value } in points {
            let name = || format!("{}/{sequence}", book.id);
            match book.index(*sequence) {
                Ok(None) => {}
                Err(()) => verdict.foreign.push(name()),
                Ok(Some(index)) => {
                    if std::mem::replace(&mut seen[index], true) {
                        verdict.doubled.push(name());
                    } else if book.made[index] != (Reading { at_ms: *at_ms, value: *value }) {
                        verdict.changed.push(name());
                    }
                }
            }
        }
        for (index, is_there) in seen.into_iter().enumerate() {
            match (book.is_acknowledged(index), is_there) {
                (true, false) => verdict.lost.push(format!("{}/{}", book.id, book.sequence(index))),
                (false, true) => verdict.unacknowledged += 1,
                _ => {}
            }
        }
        verdict.acknowledged = book.acknowledged();
        verdict
    }

    fn add(&mut self, other: Self) {
        let Self { acknowledged, lost, doubled, changed, foreign, unacknowledged } = other;
        self.acknowledged += acknowledged;
        self.unacknowledged += unacknowledged;
        self.lost.add(lost);
        self.doubled.add(doubled);
        self.changed.add(changed);
        self.foreign.add(foreign);
    }

    /// Everything that was acknowledged is there once, and nothing else.
    pub fn is_good(&self) -> bool {
        let Self { lost, doubled, changed, foreign, .. } = self;
        [lost, doubled, changed, foreign].iter().all(|named| named.count == 0)
    }
}

impl Named {
    fn push(&mut self, name: String) {
        self.add(Self { count: 1, first: vec![name] });
    }

    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.first.extend(other.first.into_iter().take(NAMED_MAX.saturating_sub(self.first.len())));
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged, lost, doubled, changed, foreign, unacknowledged } = self;
        writeln!(f, "audit")?;
        writeln!(f, "  acknowledged readings: {acknowledged}; there without: {unacknowledged}")?;
        writeln!(f, "  lost: {lost}")?;
        writeln!(f, "  there twice: {doubled}")?;
        writeln!(f, "  there with another value: {changed}")?;
        writeln!(f, "  there, and never read: {foreign}")?;
        let is_good = "every acknowledged reading is kept once, and nothing else is";
        write!(f, "  {}", if self.is_good() { is_good } else { "THE AUDIT FOUND A DIFFERENCE" })
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.count > self.first.len() { " …" } else { "" };
        write!(f, "{} {}{more}", self.count, self.first.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use bowline_testkit::{Answer, HttpServer};
    use serde_json::json;

    use super::*;

    const QUIET_MAX: Duration = Duration::from_millis(200);

    /// Ten readings of a millisecond each from now on, of which nine were acknowledged.
    fn book(first_ms: i64) -> Book {
        let mut book = Book::new("d-1".to_owned(), 100);
        for at_ms in first_ms..first_ms + 10 {
            book.push(Reading { at_ms, value: 21.37 });
        }
        book.acknowledge(0..9);
        book
    }

    fn points(book: &Book) -> Vec<Point> {
        let point =
            |index: usize| Point { at_ms: book.made[index].at_ms, sequence: book.sequence(index), value: 21.37 };
        (0..9).map(point).collect()
    }

    #[test]
    fn what_is_there_once_is_good() {
        let book = book(0);
        let mut points = points(&book);
        let verdict = Verdict::of(&book, &points);
        assert!(verdict.is_good() && verdict.acknowledged == 9 && verdict.unacknowledged == 0, "{verdict}");
        // The acknowledgement was lost; another run's is another's.
        points.push(Point { at_ms: 9, sequence: 109, value: 21.37 });
        points.push(Point { at_ms: 3, sequence: 99, value: 1.0 });
        let verdict = Verdict::of(&book, &points);
        assert!(verdict.is_good() && verdict.unacknowledged == 1, "{verdict}");
    }

    #[test]
    fn what_is_lost_doubled_changed_or_foreign_is_found_by_name() {
        let book = book(0);
        let check = |spoil: &dyn Fn(&mut Vec<Point>), find: &dyn Fn(&Verdict) -> &Named, name: &str| {
            let mut points = points(&book);
            spoil(&mut points);
            let verdict = Verdict::of(&book, &points);
            assert_eq!((find(&verdict).count, find(&verdict).first.as_slice()), (1, &[name.to_owned()][..]));
            assert!(!verdict.is_good());
        };
        check(&|points| points.retain(|point| point.sequence != 103), &|verdict| &verdict.lost, "d-1/103");
        check(&|points| points.push(points[4]), &|verdict| &verdict.doubled, "d-1/104");
        check(&|points| points[5].value = 21.38, &|verdict| &verdict.changed, "d-1/105");
        check(&|points| points[6].at_ms += 1, &|verdict| &verdict.changed, "d-1/106");
        check(&|points| points.push(Point { sequence: 110, ..points[0] }), &|verdict| &verdict.foreign, "d-1/110");
    }

    /// A system that answers no more than four points at once, or their count, the last two of the book only from some
    /// question on, and the first of it not always. The question for their count of that number it does not answer.
    fn system(book: &Book, is_late_until: usize, has_first: bool, away_at: Option<usize>) -> HttpServer {
        let (points, asked, counted) = (points(book), AtomicUsize::new(0), AtomicUsize::new(0));
        HttpServer::start(move |request| {
            let number = asked.fetch_add(1, Relaxed);
            let is_count = request.path.ends_with("&step=1h");
            if is_count && Some(counted.fetch_add(1, Relaxed)) == away_at {
                return Answer::Close;
            }
            let there = points.len() - if number < is_late_until { 2 } else { 0 };
            let bound = |name: &str| {
                let (_, value) = request.path.split(['?', '&']).find_map(|part| part.split_once(name)).unwrap();
                value.parse::<i64>().unwrap()
            };
            let span = bound("from=")..bound("to=");
            let is_asked = |point: &&Point| span.contains(&point.at_ms);
            let found: Vec<_> = points[usize::from(!has_first)..there].iter().filter(is_asked).collect();
            if is_count {
                return Answer::Status(200, json!({"points": [{"count": found.len()}]}).to_string());
            }
            if found.len() > 4 {
                return Answer::status(422);
            }
            let shown =
                |point: &&Point| json!({"at_ms": point.at_ms, "sequence": point.sequence, "value": point.value});
            let shown: Vec<_> = found.iter().map(shown).collect();
            Answer::Status(200, json!({"device": "d-1", "points": shown}).to_string())
        })
    }

    async fn verdict(is_late_until: usize, has_first: bool, away_at: Option<usize>) -> Verdict {
        let book = book(now_ms());
        let server = system(&book, is_late_until, has_first, away_at);
        let settings = Settings::new(server.addr(), server.addr(), "k").unwrap().days(1);
        let run = Run::of(vec![book]);
        let patience = Patience { pause: Duration::from_millis(1), quiet_max: QUIET_MAX };
        audit(&settings, &run, patience).await.unwrap()
    }

    #[tokio::test]
    async fn what_comes_late_is_waited_for() {
        let verdict = verdict(100, true, None).await;
        assert!(verdict.is_good() && verdict.acknowledged == 9, "{verdict}");
    }

    #[tokio::test]
    async fn while_nobody_answers_it_is_not_quiet() {
        // It is the first look that waits; the pause before it is asked for again is longer than the patience.
        assert!(example_load::PAUSE > QUIET_MAX);
        let verdict = verdict(100, true, Some(1)).await;
        assert!(verdict.is_good() && verdict.acknowledged == 9, "{verdict}");
    }

    #[tokio::test]
    async fn what_never_comes_is_lost() {
        let verdict = verdict(0, false, None).await;
        assert_eq!((verdict.lost.count, verdict.is_good()), (1, false), "{verdict}");
        assert!(verdict.to_string().ends_with("THE AUDIT FOUND A DIFFERENCE"));
    }
}
