//! The registry over the embedded store, in virtual time.

use std::{sync::Arc, time::Duration};

use bowline_model::{Code, Health, Instance, InstanceId, ServiceName};
use bowline_registry::{
    Error, HistoryId, InstanceChange, InstanceEvent, InstanceWatch, Query, Registry, StoreRegistry,
};
use bowline_runtime::{
    metric,
    task::JoinSet,
    time::{self, sleep},
};
use bowline_store::{Embedded, Settings, Store, Txn};
use tempfile::TempDir;

const TTL: Duration = Duration::from_secs(10);

/// A registry with what is under it.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) store: Embedded,
    pub(crate) registry: Arc<StoreRegistry>,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::open(tempfile::tempdir().unwrap(), change).await
    }

    async fn open(dir: TempDir, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new(dir.path().join("store.redb"));
        change(&mut settings);
        let store = Embedded::open(settings, &metric::Registry::default()).await.unwrap();
        let registry = Arc::new(StoreRegistry::new(Arc::new(store.clone())));
        Self { dir, store, registry }
    }

    async fn reopen(self) -> Self {
        self.store.close().await;
        let Self { dir, store, registry } = self;
        drop((store, registry));
        Self::open(dir, |_| {}).await
    }

    async fn lease_count(&self, ids: std::ops::RangeInclusive<u64>) -> usize {
        let mut count = 0;
        for id in ids {
            count += usize::from(self.store.time_left(bowline_store::LeaseId(id)).await.is_ok());
        }
        count
    }
}

pub(crate) fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

pub(crate) fn id(id: &str) -> InstanceId {
    InstanceId::new(id).unwrap()
}

/// An instance of the service its id begins with.
pub(crate) fn instance(text: &str) -> Instance {
    let name = text.split('-').next().unwrap();
    Instance::new(id(text), service(name), "127.0.0.1:8000".parse().unwrap())
}

async fn found(registry: &StoreRegistry, query: &Query) -> Vec<String> {
    let discovered = registry.discover(query).await.unwrap();
    discovered.instances.iter().map(|instance| instance.id.to_string()).collect()
}

async fn next(watch: &mut Box<dyn InstanceWatch>) -> InstanceEvent {
    time::timeout(Duration::from_mins(1), watch.next()).await.expect("an event comes").unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_is_registered_is_found_at_once() {
    let Fixture { registry, .. } = &Fixture::new().await;
    for text in ["b-2", "a-1", "b-1"] {
        let revision = registry.register(instance(text), None).await.unwrap();
        assert_eq!(registry.discover(&Query::default()).await.unwrap().revision, revision);
    }
    assert_eq!(found(registry, &Query::default()).await, ["a-1", "b-1", "b-2"]);
    assert_eq!(found(registry, &Query::service(service("b"))).await, ["b-1", "b-2"]);
    let sick = Instance { health: Health::Unhealthy, ..instance("b-1") };
    registry.register(sick.clone(), None).await.unwrap();
    let query = Query { health: Some(Health::Healthy), ..Query::default() };
    assert_eq!(found(registry, &query).await, ["a-1", "b-2"]);
    let discovered = registry.discover(&Query::service(service("b"))).await.unwrap();
    assert_eq!(discovered.instances, [sick, instance("b-2")]);

    let summaries = registry.services().await.unwrap();
    let counts = summaries.iter().map(|s| (s.name.as_str(), s.instances, s.healthy)).collect::<Vec<_>>();
    assert_eq!(counts, [("a", 1, 1), ("b", 2, 1)]);
    assert!(registry.deregister(&id("a-1")).await.unwrap());
    assert!(!registry.deregister(&id("a-1")).await.unwrap());
    assert_eq!(registry.services().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn pages_of_a_query_are_bounded() {
    let Fixture { registry, .. } = &Fixture::new().await;
    for i in 0..5 {
        registry.register(instance(&format!("a-{i}")), None).await.unwrap();
    }
    let page = Query { after: Some(id("a-0")), limit: Some(2), ..Query::default() };
    let discovered = registry.discover(&page).await.unwrap();
    assert!(discovered.more);
    assert_eq!(found(registry, &page).await, ["a-1", "a-2"]);
    let last = Query { after: Some(id("a-2")), ..page };
    assert!(!registry.discover(&last).await.unwrap().more);
    let watch = registry.watch(&last, 0).await;
    assert_eq!(watch.err().unwrap().code(), Code::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn an_instance_leaves_when_its_heartbeats_stop() {
    let Fixture { registry, store, .. } = &Fixture::new().await;
    let revision = registry.register(instance("a-1"), Some(TTL)).await.unwrap();
    registry.register(instance("a-2"), None).await.unwrap();
    let mut watch = registry.watch(&Query::service(service("a")), revision).await.unwrap();
    let written = store.revision().await.unwrap();
    for _ in 0..5 {
        sleep(TTL * 9 / 10).await;
        let answers = registry.heartbeat(&[id("a-1"), id("a-9"), id("a-2")]).await.unwrap();
        let answers = answers.iter().map(|a| (a.id.as_str(), a.known, a.ttl)).collect::<Vec<_>>();
        assert_eq!(answers, [("a-1", true, Some(TTL)), ("a-9", false, None), ("a-2", true, None)]);
    }
    assert_eq!(store.revision().await.unwrap(), written, "heartbeats write nothing");
    assert!(matches!(next(&mut watch).await.change, InstanceChange::Put(put) if put.id == id("a-2")));
    let begin = time::now();
    let gone = InstanceChange::Delete { id: id("a-1"), service: service("a") };
    assert_eq!(next(&mut watch).await.change, gone);
    assert!(begin.elapsed() >= TTL && begin.elapsed() < TTL + Duration::from_secs(1));
    assert_eq!(found(registry, &Query::default()).await, ["a-2"]);
    assert!(!registry.heartbeat(&[id("a-1")]).await.unwrap()[0].known, "it has to register again");
}

#[tokio::test(start_paused = true)]
async fn registering_the_same_again_only_renews() {
    let fixture = Fixture::new().await;
    let Fixture { registry, store, .. } = &fixture;
    let first = registry.register(instance("a-1"), Some(TTL)).await.unwrap();
    for _ in 0..3 {
        sleep(TTL * 9 / 10).await;
        assert_eq!(registry.register(instance("a-1"), Some(TTL)).await.unwrap(), first);
    }
    assert_eq!(store.revision().await.unwrap(), first);
    // New content keeps the lease, and renews it.
    sleep(TTL * 9 / 10).await;
    let changed = Instance { weight: 7, ..instance("a-1") };
    let second = registry.register(changed.clone(), Some(TTL)).await.unwrap();
    assert_eq!(second, first + 1);
    sleep(TTL * 9 / 10).await;
    assert_eq!(registry.discover(&Query::default()).await.unwrap().instances, std::slice::from_ref(&changed));
    assert_eq!(fixture.lease_count(1..=20).await, 1);
    // Another lifetime needs another lease; the old one does not stay, nor take the key along.
    registry.register(changed.clone(), Some(TTL * 2)).await.unwrap();
    assert_eq!(fixture.lease_count(1..=20).await, 1);
    assert_eq!(registry.heartbeat(&[id("a-1")]).await.unwrap()[0].ttl, Some(TTL * 2));
    // Without a lifetime there is no lease at all.
    registry.register(changed.clone(), None).await.unwrap();
    assert_eq!(fixture.lease_count(1..=20).await, 0);
    sleep(TTL * 10).await;
    assert_eq!(registry.discover(&Query::default()).await.unwrap().instances, [changed]);
    registry.register(instance("a-1"), Some(TTL)).await.unwrap();
    assert!(registry.deregister(&id("a-1")).await.unwrap());
    assert_eq!(fixture.lease_count(1..=20).await, 0, "leases do not outlive their instances");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_changes_its_service_leaves_the_old_one() {
    let Fixture { registry, .. } = &Fixture::new().await;
    let first = registry.register(instance("a-1"), Some(TTL)).await.unwrap();
    let (mut old, mut new) = (
        registry.watch(&Query::service(service("a")), first).await.unwrap(),
        registry.watch(&Query::service(service("b")), first).await.unwrap(),
    );
    let moved = Instance { service: service("b"), ..instance("a-1") };
    registry.register(moved.clone(), Some(TTL)).await.unwrap();
    assert_eq!(next(&mut old).await.change, InstanceChange::Delete { id: id("a-1"), service: service("a") });
    assert_eq!(next(&mut new).await.change, InstanceChange::Put(moved));
    assert_eq!(found(registry, &Query::service(service("a"))).await, [""; 0]);
    assert_eq!(found(registry, &Query::service(service("b"))).await, ["a-1"]);
}

#[tokio::test(start_paused = true)]
async fn what_breaks_a_bound_is_refused() {
    let Fixture { registry, .. } = &Fixture::new().await;
    let heavy = Instance { weight: 0, ..instance("a-1") };
    let error = registry.register(heavy, None).await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), (Code::Unprocessable, false));
    for ttl in [Duration::from_millis(999), Duration::from_secs(3601)] {
        let error = registry.register(instance("a-1"), Some(ttl)).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
    }
    let error = registry.heartbeat(&vec![id("a-1"); 10_001]).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(registry.heartbeat(&vec![id("a-1"); 10_000]).await.unwrap().len(), 10_000);
    assert!(registry.services().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn all_of_it_survives_a_restart() {
    let fixture = Fixture::new().await;
    fixture.registry.register(instance("a-1"), Some(TTL)).await.unwrap();
    let last = fixture.registry.register(instance("a-2"), None).await.unwrap();
    let before = fixture.registry.discover(&Query::default()).await.unwrap();
    sleep(TTL * 9 / 10).await;

    let fixture = fixture.reopen().await;
    let registry = &fixture.registry;
    assert_eq!(registry.discover(&Query::default()).await.unwrap(), before);
    sleep(TTL * 9 / 10).await;
    assert!(registry.heartbeat(&[id("a-1")]).await.unwrap()[0].known, "its lease began anew");
    let third = registry.register(instance("a-3"), None).await.unwrap();
    let mut watch = registry.watch(&Query { history: before.history, ..Query::default() }, last).await.unwrap();
    assert_eq!(next(&mut watch).await, InstanceEvent { revision: third, change: InstanceChange::Put(instance("a-3")) });
    sleep(TTL * 2).await;
    assert_eq!(found(registry, &Query::default()).await, ["a-2", "a-3"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_is_refused_where_it_cannot_be_complete() {
    let fixture = Fixture::with(|settings| settings.history_max = 3).await;
    let Fixture { registry, store, .. } = &fixture;
    let first = registry.register(instance("a-1"), None).await.unwrap();
    let watch = |query, from| async move { registry.watch(&query, from).await.err() };
    assert!(matches!(watch(Query::default(), first + 1).await, Some(Error::OtherHistory)));
    let other = Query { history: Some(HistoryId(0)), ..Query::default() };
    assert!(matches!(watch(other, first).await, Some(Error::OtherHistory)));
    // Others' changes push the instances out of the history; a new list can be watched from anyway.
    for i in 0..10 {
        store.commit(Txn::default().put(format!("config/{i}"), "1")).await.unwrap();
    }
    assert!(matches!(watch(Query::default(), first).await, Some(Error::Compacted { .. })));
    let revision = registry.discover(&Query::default()).await.unwrap().revision;
    assert!(watch(Query::default(), revision).await.is_none());
    let error = Error::Compacted { oldest: 1 };
    assert_eq!((error.code(), error.code().http_status()), (Code::OutOfRange, 410));
}

#[tokio::test(start_paused = true)]
async fn an_idle_watch_tells_where_to_resume() {
    let Fixture { registry, store, .. } = &Fixture::new().await;
    let first = registry.register(instance("a-1"), None).await.unwrap();
    let mut watch = registry.watch(&Query::service(service("a")), first).await.unwrap();
    let last = store.commit(Txn::default().put("config/a", "1")).await.unwrap();
    time::timeout(Duration::from_secs(1), watch.next()).await.unwrap_err();
    assert_eq!(watch.revision(), Some(last));
}

#[tokio::test(start_paused = true)]
async fn many_who_register_one_id_end_with_one_instance_and_one_lease() {
    let fixture = Fixture::new().await;
    let mut tasks = JoinSet::new();
    for round in 0..8u32 {
        let registry = Arc::clone(&fixture.registry);
        tasks.spawn(async move {
            let changed = Instance { weight: round + 1, ..instance("a-1") };
            let ttl = Duration::from_secs(10 + u64::from(round % 3));
            registry.register(changed, Some(ttl)).await.unwrap();
            if round % 4 == 0 {
                registry.deregister(&id("a-1")).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    fixture.registry.register(instance("a-1"), Some(TTL)).await.unwrap();
    assert_eq!(fixture.registry.discover(&Query::default()).await.unwrap().instances, [instance("a-1")]);
    assert_eq!(fixture.lease_count(1..=100).await, 1);
    sleep(TTL * 2).await;
    assert!(fixture.registry.services().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_registers_finds_it_while_others_come_and_go() {
    let fixture = Fixture::new().await;
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let registry = Arc::clone(&fixture.registry);
        tasks.spawn(async move {
            for round in 0..30 {
                let own = instance(&format!("a-{task}-{round}"));
                registry.register(own.clone(), (round % 2 == 0).then_some(TTL)).await.unwrap();
                assert!(registry.discover(&Query::default()).await.unwrap().instances.contains(&own));
                assert!(registry.heartbeat(std::slice::from_ref(&own.id)).await.unwrap()[0].known);
                let contested = instance(&format!("b-{}", round % 3));
                registry.register(contested.clone(), Some(TTL)).await.unwrap();
                if round % 5 == 0 {
                    registry.deregister(&contested.id).await.unwrap();
                }
                assert!(registry.deregister(&own.id).await.unwrap());
                assert!(!registry.discover(&Query::default()).await.unwrap().instances.contains(&own));
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let left = found(&fixture.registry, &Query::default()).await;
    assert!(left.iter().all(|id| id.starts_with("b-")), "{left:?}");
    let stored = fixture.store.range("", None, 100).await.unwrap().entries.len();
    assert_eq!(stored, left.len());
    assert_eq!(fixture.lease_count(1..=1000).await, left.len(), "a lease for each");
}

#[tokio::test(start_paused = true)]
async fn a_foreign_entry_is_left_out() {
    let fixture = Fixture::new().await;
    let key = "registry/instances/a-1";
    fixture.registry.register(instance("a-1"), None).await.unwrap();
    fixture.store.commit(Txn::default().put(key, "{}").put("registry/instances/?", "x")).await.unwrap();
    assert!(found(&fixture.registry, &Query::default()).await.is_empty());
    fixture.registry.register(instance("a-1"), None).await.unwrap();
    assert_eq!(found(&fixture.registry, &Query::default()).await, ["a-1"]);
}

#[tokio::test(start_paused = true)]
async fn a_closed_store_is_an_error_not_a_wait() {
    let fixture = Fixture::new().await;
    fixture.registry.register(instance("a-1"), None).await.unwrap();
    fixture.store.close().await;
    let error = fixture.registry.register(instance("a-2"), None).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn what_a_handle_protects_is_not_changed_by_way_of_it() {
    let fixture = Fixture::new().await;
    let foreign = fixture.registry.protecting("owner");
    let mut owned = instance("order-1");
    owned.metadata.insert("owner".to_owned(), "us".to_owned());
    let is_refused = |result: Result<(), Error>| {
        let error = result.unwrap_err();
        assert!(error.code() == Code::PermissionDenied && error.to_string().contains("order-1"), "{error}");
        assert!(!error.retryable());
    };
    is_refused(foreign.register(owned.clone(), None).await.map(|_| ()));
    for ttl in [None, Some(TTL)] {
        fixture.registry.register(owned.clone(), ttl).await.unwrap();
        is_refused(foreign.register(instance("order-1"), ttl).await.map(|_| ()));
        let elsewhere = Instance { service: service("evil"), ..instance("order-1") };
        is_refused(foreign.register(elsewhere, ttl).await.map(|_| ()));
        is_refused(foreign.deregister(&id("order-1")).await.map(|_| ()));
        let found = foreign.discover(&Query::default()).await.unwrap().instances;
        assert_eq!(found, [owned.clone()]);
    }
    foreign.register(instance("order-2"), None).await.unwrap();
    assert!(foreign.deregister(&id("order-2")).await.unwrap());
    assert!(fixture.registry.deregister(&id("order-1")).await.unwrap());
    foreign.register(instance("order-1"), None).await.unwrap();
}
