//! Documents that are followed: acted by at once, acknowledged or refused, kept on disk.

use std::{
    io::ErrorKind,
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex},
};

use bowline_config::{
    Acknowledgement, Author, ConfigManager, ConfigWatcher, Document, Draft, Error, ExpectSchema, Format, Origin,
    Outcome, REASON_BYTES_MAX, Status, Summary, Version, VersionSummary,
};
use bowline_model::{ConfigKey, InstanceId, ServiceName};
use bowline_proxy::follow::{Follow, Kept, LastGood};
use bowline_runtime::{
    BoxFuture, task,
    time::{self, Duration},
};
use tokio::sync::mpsc;

/// One document, of which the test says what is told, and how long it takes to acknowledge a version.
struct Fake {
    told: Mutex<Option<mpsc::Receiver<Told>>>,
    /// Versions whose acknowledgement never arrives.
    unheard: Vec<u64>,
    said: Mutex<Vec<Acknowledgement>>,
}

type Told = Result<Option<Version>, Error>;

struct Watcher<'a>(&'a Mutex<Option<mpsc::Receiver<Told>>>, Option<mpsc::Receiver<Told>>);

impl ConfigWatcher for Watcher<'static> {
    fn next(&mut self) -> BoxFuture<'_, Told> {
        Box::pin(async {
            match self.1.as_mut().unwrap().recv().await {
                Some(told) => told,
                None => std::future::pending().await,
            }
        })
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap() = self.1.take();
    }
}

impl ConfigManager for &'static Fake {
    fn watch_config(&self, _: &ConfigKey) -> BoxFuture<'_, Result<Box<dyn ConfigWatcher>, Error>> {
        let this: &'static Fake = self;
        let watcher = Watcher(&this.told, this.told.lock().unwrap().take());
        Box::pin(async move { Ok(Box::new(watcher) as Box<dyn ConfigWatcher>) })
    }

    fn acknowledge(&self, key: &ConfigKey, ack: Acknowledgement, _: Duration) -> BoxFuture<'_, Result<(), Error>> {
        assert_eq!(*key, ConfigKey::routes());
        Box::pin(async move {
            if self.unheard.contains(&ack.version) {
                std::future::pending::<()>().await;
            }
            self.said.lock().unwrap().push(ack);
            Ok(())
        })
    }

    fn get_config(&self, _: &ConfigKey) -> BoxFuture<'_, Result<Option<Version>, Error>> {
        unreachable!()
    }

    fn get_version(&self, _: &ConfigKey, _: u64) -> BoxFuture<'_, Result<Option<Version>, Error>> {
        unreachable!()
    }

    fn check_config(&self, _: &ConfigKey, _: Draft) -> BoxFuture<'_, Result<u64, Error>> {
        unreachable!()
    }

    fn set_config(&self, _: &ConfigKey, _: Draft) -> BoxFuture<'_, Result<Version, Error>> {
        unreachable!()
    }

    fn set_config_with_schema(&self, _: &ConfigKey, _: Draft, _: &str) -> BoxFuture<'_, Result<Version, Error>> {
        unreachable!()
    }

    fn delete_config(&self, _: &ConfigKey, _: Option<u64>) -> BoxFuture<'_, Result<bool, Error>> {
        unreachable!()
    }

    fn rollback(&self, _: &ConfigKey, _: u64, _: Option<u64>, _: Author) -> BoxFuture<'_, Result<Version, Error>> {
        unreachable!()
    }

    fn history(&self, _: &ConfigKey, _: Option<u64>, _: usize) -> BoxFuture<'_, Result<Vec<VersionSummary>, Error>> {
        unreachable!()
    }

    fn list(&self, _: Option<&str>) -> BoxFuture<'_, Result<Vec<Summary>, Error>> {
        unreachable!()
    }

    fn get_schema(&self, _: &ConfigKey) -> BoxFuture<'_, Result<Option<String>, Error>> {
        unreachable!()
    }

    fn set_schema(&self, _: &ConfigKey, _: Option<&str>, _: ExpectSchema) -> BoxFuture<'_, Result<(), Error>> {
        unreachable!()
    }

    fn status(&self, _: &ConfigKey) -> BoxFuture<'_, Result<Status, Error>> {
        unreachable!()
    }
}

fn version(number: u64, text: &str) -> Version {
    Version {
        number,
        document: Document::new(Format::Toml, text),
        author: Author::anonymous(),
        origin: Origin::Api,
        comment: String::new(),
        at_unix_ms: 0,
        restores: None,
    }
}

/// A follower of a fake, which takes any text but those that begin with `bad`.
struct Following {
    tell: mpsc::Sender<Told>,
    fake: &'static Fake,
    applied: Arc<Mutex<Vec<u64>>>,
    _running: task::Guarded<()>,
}

impl Following {
    fn start(unheard: &[u64], last_good: Option<LastGood>) -> Self {
        let (tell, told) = mpsc::channel(4);
        let (told, said) = (Mutex::new(Some(told)), Mutex::default());
        // It lives as long as the test.
        let fake: &'static Fake = Box::leak(Box::new(Fake { told, unheard: unheard.to_vec(), said }));
        let follow = Follow {
            config: Arc::new(fake),
            key: ConfigKey::routes(),
            instance: InstanceId::new("gateway-1").unwrap(),
            service: ServiceName::new("gateway").unwrap(),
            last_good,
            runs: None,
        };
        let applied = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&applied);
        let running = task::spawn(follow.run(move |version| {
            if version.document.text.starts_with("bad") {
                return Err(version.document.text.clone());
            }
            noted.lock().unwrap().push(version.number);
            Ok(())
        }));
        Self { tell, fake, applied, _running: task::Guarded::new(running) }
    }

    async fn tell(&self, told: Told) {
        self.tell.send(told).await.unwrap();
    }

    fn applied(&self) -> Vec<u64> {
        self.applied.lock().unwrap().clone()
    }

    /// Waits, in virtual time, until so much was acknowledged.
    async fn said(&self, count: usize) -> Vec<Acknowledgement> {
        while self.fake.said.lock().unwrap().len() < count {
            time::sleep(Duration::from_millis(1)).await;
        }
        self.fake.said.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_that_does_not_arrive_holds_up_no_version() {
    let following = Following::start(&[1], None);
    let begun = time::now();
    following.tell(Ok(Some(version(1, "a")))).await;
    following.tell(Ok(Some(version(2, "b")))).await;
    let said = following.said(1).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(following.applied(), [1, 2]);
    assert_eq!((said[0].version, said[0].runs, &said[0].outcome), (2, Some(2), &Outcome::Applied));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_said_with_its_reason_and_what_runs() {
    let following = Following::start(&[], None);
    following.tell(Ok(Some(version(1, "a")))).await;
    following.said(1).await;
    let long = format!("bad: {}", "é".repeat(REASON_BYTES_MAX));
    following.tell(Ok(Some(version(2, &long)))).await;
    // What was said of the first may be said again before.
    let mut count = 2;
    let told = loop {
        let said = following.said(count).await;
        match said.into_iter().find(|ack| ack.version == 2) {
            Some(told) => break told,
            None => count += 1,
        }
    };
    let Outcome::Refused { reason } = &told.outcome else { panic!("{told:?}") };
    assert!(reason.starts_with("bad: é") && reason.len() <= REASON_BYTES_MAX, "{}", reason.len());
    assert_eq!(told.runs, Some(1));
    assert_eq!(following.applied(), [1]);
}

#[tokio::test(start_paused = true)]
async fn what_was_said_is_said_again_and_a_failed_watch_begins_anew() {
    let following = Following::start(&[], None);
    following.tell(Ok(Some(version(1, "a")))).await;
    let said = following.said(3).await;
    assert_eq!(said[0], said[2], "renewed");
    following.tell(Err(Error::Unavailable(None))).await;
    following.tell(Ok(Some(version(2, "b")))).await;
    let begun = time::now();
    while following.applied() != [1, 2] {
        time::sleep(Duration::from_millis(1)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(3));
    following.tell(Ok(None)).await;
    let count = following.said(4).await.len();
    time::sleep(Duration::from_mins(1)).await;
    let later = following.fake.said.lock().unwrap().len();
    assert!(later <= count + 1, "of what is gone nothing is said: {count}, {later}");
    assert_eq!(following.applied(), [1, 2], "and what was acted by stays");
}

#[tokio::test]
async fn what_is_acted_by_is_kept_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let last_good = LastGood { path: dir.path().join("routes"), what: "routes" };
    assert_eq!(last_good.read().unwrap(), None);
    let following = Following::start(&[], Some(last_good.clone()));
    following.tell(Ok(Some(version(7, "first\nsecond")))).await;
    following.said(1).await;
    let kept = Kept { text: "first\nsecond".to_owned(), version: 7 };
    assert_eq!(last_good.read().unwrap(), Some(kept.clone()));
    let mode = std::fs::metadata(&last_good.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&last_good.path).unwrap();
    assert_eq!(text, "# bowline routes, format 1, version 7\nfirst\nsecond");
    following.tell(Ok(Some(version(8, "bad")))).await;
    following.said(2).await;
    assert_eq!(last_good.read().unwrap(), Some(kept));
    let other = LastGood { what: "mesh", ..last_good };
    assert_eq!(other.read().unwrap_err().kind(), ErrorKind::InvalidData);
}
