//! A store in memory, and one world behind all three ports.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bowline_deploy::{
    Action, Begin, Deployer, Failure, Fleet, InForce, Judge, Ports, Question, Status, Steer, Verdict,
};
use bowline_model::{
    ServiceName,
    deploy::{Figures, Plan, Release, Strategy},
    mesh::Steering,
    parse,
    system::System,
    units::Share,
};
use bowline_runtime::{BoxFuture, metric, time};
use bowline_store::{Entry, Error as StoreError, Expect, HistoryId, LeaseId, Op, Page, Revision, Store, Txn, Watch};

pub(crate) const FILE: &str = r#"
name = "shop"
[service.order]
run = "./order"
version = "v1"
replicas = 2
[service.order.versions.v9]
replicas = 1
[service.payment]
run = "./payment"
[service.bank]
"#;

/// How long each call of a port takes.
pub(crate) const TAKES: Duration = Duration::from_millis(100);

/// Longer than any rollout of these tests takes.
const LONG: Duration = Duration::from_hours(2);

pub(crate) fn order() -> ServiceName {
    ServiceName::new("order").unwrap()
}

pub(crate) fn plan(strategy: Strategy) -> Plan {
    let steps = if strategy == Strategy::Canary { [5, 50].map(Share::from_percent).to_vec() } else { Vec::new() };
    Plan { strategy, steps, bake: Duration::from_secs(20), ..Plan::default() }
}

pub(crate) fn v2() -> Release {
    Release { run: Some("./order-2".to_owned()), ..Release::declared("v2") }
}

pub(crate) fn begin(release: Release, plan: Plan) -> Begin {
    Begin { service: order(), release, plan: Some(plan), replicas: None }
}

/// What all ports act upon: the instances of `order`, and how its requests are split.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) running: BTreeMap<String, u32>,
    pub(crate) split: BTreeMap<String, u32>,
    /// Whose the split is; none: set by hand.
    pub(crate) split_by: Option<u64>,
    /// What was asked of fleet and steer, in order.
    pub(crate) calls: Vec<String>,
    /// The first words of calls that fail, one after the other.
    pub(crate) failures: VecDeque<&'static str>,
    /// What the judge says of any release; good where nothing is said.
    pub(crate) verdict: Option<Verdict>,
    pub(crate) questions: Vec<Question>,
    /// After so many calls further ones never end, as if the process had.
    pub(crate) calls_max: Option<usize>,
}

impl State {
    fn steering(&self) -> Steering {
        Steering { split: self.split.clone(), rollout: self.split_by, ..Steering::default() }
    }

    /// Somebody else than the deployer splits the requests like that, whoever's the split is said to be.
    pub(crate) fn publish(&mut self, weights: &[(&str, u32)], rollout: Option<u64>) {
        self.split = weights.iter().map(|(version, weight)| ((*version).to_owned(), *weight)).collect();
        self.split_by = rollout;
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct World {
    state: Arc<Mutex<State>>,
    pub(crate) store: Memory,
    pub(crate) metrics: metric::Registry,
}

impl World {
    /// The system runs as it is declared.
    pub(crate) fn new() -> Self {
        let world = Self::default();
        world.state().running.insert("v1".to_owned(), 2);
        world
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) async fn open(&self) -> Deployer {
        self.open_as(FILE).await
    }

    pub(crate) async fn open_as(&self, file: &str) -> Deployer {
        Deployer::open(Arc::new(self.store.clone()), &system(file), &self.metrics).await.unwrap()
    }

    /// A deployer that runs.
    pub(crate) async fn start(&self) -> Deployer {
        let deployer = self.open().await;
        deployer.start(&self.ports());
        deployer
    }

    pub(crate) fn ports(&self) -> Ports {
        let port = Arc::new(self.clone());
        Ports { fleet: port.clone(), steer: port.clone(), judge: port }
    }

    /// What was asked of fleet and steer since the last time.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state().calls)
    }

    /// The process ends, its instances with it, and begins anew with what is in force.
    pub(crate) async fn restart(&self, deployer: Deployer) -> Deployer {
        drop(deployer);
        // tidy: sleep: virtual; its tasks see that it is gone
        time::sleep(TAKES).await;
        let deployer = self.open().await;
        let in_force = deployer.in_force();
        let mut running = BTreeMap::from([("v1".to_owned(), 2)]);
        if let Some(InForce { service: _, own, own_count, beside }) = in_force.into_iter().next() {
            running = BTreeMap::from([(own.map_or("v1".to_owned(), |own| own.version), own_count)]);
            running.extend(beside.into_iter().map(|(release, count)| (release.version, count)));
        }
        {
            let mut state = self.state();
            state.running = running;
            state.calls_max = None;
        }
        self.check();
        deployer.start(&self.ports());
        deployer
    }

    /// Checks that whatever is steered to runs.
    #[track_caller]
    fn check(&self) {
        let state = self.state();
        for (version, weight) in &state.split {
            let count = state.running.get(version).copied().unwrap_or_default();
            assert!(*weight == 0 || count > 0, "nothing runs of {version}, which gets {weight}: {state:?}");
        }
        let total: u32 = state.running.values().sum();
        assert!(total >= 2, "there is less than there was: {state:?}");
    }

    /// Checks that only that version runs, and gets everything.
    #[track_caller]
    pub(crate) fn check_alone(&self, version: &str, count: u32) {
        let state = self.state();
        let running: Vec<_> = state.running.iter().filter(|(_, count)| **count > 0).collect();
        assert_eq!(running, [(&version.to_owned(), &count)]);
        assert_eq!(state.split, BTreeMap::new());
    }

    /// The next call, done or failed; what it does is visible when it has ended.
    async fn call(&self, call: String, act: impl FnOnce(&mut State) -> Result<(), Failure>) -> Result<(), Failure> {
        let is_last = {
            let mut state = self.state();
            state.calls.push(call.clone());
            state.calls_max.is_some_and(|calls_max| state.calls.len() > calls_max)
        };
        if is_last {
            std::future::pending::<()>().await;
        }
        // tidy: sleep: virtual; it is what a call takes
        time::sleep(TAKES).await;
        {
            let mut state = self.state();
            if state.failures.front().is_some_and(|begin| call.starts_with(begin)) {
                state.failures.pop_front();
                return Err(Failure(format!("`{call}` failed")));
            }
            act(&mut state)?;
        }
        self.check();
        Ok(())
    }
}

impl Fleet for World {
    fn scale<'a>(&'a self, _: &'a ServiceName, release: &'a Release, count: u32) -> BoxFuture<'a, Result<(), Failure>> {
        let version = release.version.clone();
        Box::pin(self.call(format!("scale {version} {count}"), move |state| {
            state.running.insert(version, count);
            Ok(())
        }))
    }
}

impl Steer for World {
    fn published<'a>(&'a self, _: &'a ServiceName) -> BoxFuture<'a, Result<Steering, Failure>> {
        Box::pin(std::future::ready(Ok(self.state().steering())))
    }

    fn split<'a>(
        &'a self,
        _: &'a ServiceName,
        rollout: u64,
        weights: &'a BTreeMap<String, u32>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        let mut call = "split".to_owned();
        for (version, weight) in weights {
            write!(call, " {version}={weight}").unwrap();
        }
        Box::pin(self.call(call, move |state| {
            if state.steering().is_split_by_others(rollout) {
                return if weights.is_empty() { Ok(()) } else { Err(Failure("it is split by hand".to_owned())) };
            }
            state.split.clone_from(weights);
            state.split_by = (!weights.is_empty()).then_some(rollout);
            Ok(())
        }))
    }
}

impl Judge for World {
    fn judge<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Verdict> {
        let mut state = self.state();
        state.questions.push(question.clone());
        let verdict = state.verdict.clone().unwrap_or_else(|| Verdict::Good(figures(0.0)));
        Box::pin(std::future::ready(verdict))
    }
}

pub(crate) fn figures(error_ratio: f64) -> Figures {
    Figures { requests: 100.0, error_ratio, quantiles: Vec::new() }
}

pub(crate) fn bad() -> Verdict {
    Verdict::Bad(figures(0.2), "error_rate 20% > 5%".to_owned())
}

pub(crate) fn system(file: &str) -> System {
    parse::parse(file).unwrap()
}

/// Waits until the rollout of `order` is as it is asked for.
pub(crate) async fn until(deployer: &Deployer, is_so: impl Fn(&Status) -> bool) -> Status {
    let mut watch = deployer.watch();
    let found = time::timeout(LONG, async {
        loop {
            let status = deployer.get(&order()).filter(&is_so);
            if let Some(status) = status {
                return status;
            }
            watch.changed().await.unwrap();
        }
    });
    found.await.unwrap_or_else(|_| panic!("it never comes to that: {:?}", deployer.get(&order())))
}

pub(crate) async fn over(deployer: &Deployer) -> Status {
    until(deployer, |status| !status.rollout.is_live()).await
}

pub(crate) async fn act(deployer: &Deployer, action: Action) -> Result<Status, bowline_deploy::Error> {
    deployer.act(&order(), action, None).await
}

/// A store in memory that fails when it is told to: before or after it has done what it was asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    revision: Revision,
    entries: BTreeMap<String, Entry>,
    commits: usize,
    fails_at: Option<(usize, Fault)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is done.
    Before,
    /// It is done, and nobody is told.
    After,
    /// It is done, and never answered.
    Silence,
}

impl Memory {
    /// The next commit but so many fails.
    pub(crate) fn fail_after(&self, count: usize, fault: Fault) {
        let mut inner = self.0.lock().unwrap();
        inner.fails_at = Some((inner.commits + count, fault));
    }

    /// How many commits were asked for.
    pub(crate) fn commits(&self) -> usize {
        self.0.lock().unwrap().commits
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap().entries.keys().cloned().collect()
    }

    pub(crate) fn value(&self, key: &str) -> String {
        String::from_utf8(self.0.lock().unwrap().entries[key].value.to_vec()).unwrap()
    }

    pub(crate) fn put(&self, key: &str, value: String) {
        self.0.lock().unwrap().apply(&Txn::default().put(key, value)).unwrap();
    }
}

impl Inner {
    fn apply(&mut self, txn: &Txn) -> Result<Revision, StoreError> {
        bowline_store::check_txn(txn)?;
        for compare in &txn.compares {
            let current = self.entries.get(&compare.key).map(|entry| entry.modified);
            let is_so = match compare.expect {
                Expect::Missing => current.is_none(),
                Expect::Exists => current.is_some(),
                Expect::Modified(revision) => current == Some(revision),
            };
            if !is_so {
                return Err(StoreError::Conflict { key: compare.key.clone(), current });
            }
        }
        self.revision += 1;
        let revision = self.revision;
        for op in &txn.ops {
            let Op::Put { key, value, .. } = op else {
                self.entries.remove(op.key());
                continue;
            };
            let created = self.entries.get(key).map_or(revision, |entry| entry.created);
            let entry =
                Entry { key: key.as_str().into(), value: value.clone(), created, modified: revision, lease: None };
            self.entries.insert(key.clone(), entry);
        }
        Ok(revision)
    }

    fn commit(&mut self, txn: &Txn) -> (Result<Revision, StoreError>, Option<Fault>) {
        let fault = self.fails_at.filter(|(at, _)| *at == self.commits).map(|(_, fault)| fault);
        self.commits += 1;
        let failed = || Err(StoreError::Unavailable { retry_after: None });
        match fault {
            Some(Fault::Before) => (failed(), fault),
            Some(Fault::After) => (self.apply(txn).and_then(|_| failed()), fault),
            Some(Fault::Silence) | None => (self.apply(txn), fault),
        }
    }
}

impl Store for Memory {
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Entry>, StoreError>> {
        let entry = self.0.lock().unwrap().entries.get(key).cloned();
        Box::pin(std::future::ready(Ok(entry)))
    }

    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> BoxFuture<'_, Result<Page, StoreError>> {
        let inner = self.0.lock().unwrap();
        let is_in = |key: &str| key.starts_with(prefix) && after.is_none_or(|after| key > after);
        let mut found = inner.entries.iter().filter(|(key, _)| is_in(key)).map(|(_, entry)| entry.clone());
        let entries: Vec<Entry> = found.by_ref().take(limit).collect();
        let page = Page { entries, revision: inner.revision, more: found.next().is_some() };
        drop(found);
        Box::pin(std::future::ready(Ok(page)))
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, StoreError>> {
        Box::pin(async move {
            let (answer, fault) = self.0.lock().unwrap().commit(&txn);
            if fault == Some(Fault::Silence) {
                std::future::pending::<()>().await;
            }
            answer
        })
    }

    fn commit_leased(&self, _: Txn, _: Duration) -> BoxFuture<'_, Result<(Revision, LeaseId), StoreError>> {
        unasked()
    }

    fn watch(&self, _: &str, _: Revision) -> BoxFuture<'_, Result<Watch, StoreError>> {
        unasked()
    }

    fn grant(&self, _: Duration) -> BoxFuture<'_, Result<LeaseId, StoreError>> {
        unasked()
    }

    fn keep_alive(&self, _: &[LeaseId]) -> BoxFuture<'_, Result<Vec<Result<Duration, StoreError>>, StoreError>> {
        unasked()
    }

    fn revoke(&self, _: LeaseId) -> BoxFuture<'_, Result<bool, StoreError>> {
        unasked()
    }

    fn time_left(&self, _: LeaseId) -> BoxFuture<'_, Result<Duration, StoreError>> {
        unasked()
    }

    fn lease_keys(&self, _: LeaseId) -> BoxFuture<'_, Result<Vec<Arc<str>>, StoreError>> {
        unasked()
    }

    fn history(&self) -> BoxFuture<'_, Result<HistoryId, StoreError>> {
        unasked()
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision, StoreError>> {
        unasked()
    }
}

fn unasked<T: Send + 'static>() -> BoxFuture<'static, Result<T, StoreError>> {
    Box::pin(std::future::ready(Err(StoreError::Closed)))
}
