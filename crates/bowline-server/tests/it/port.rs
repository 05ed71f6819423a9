//! The registry port, near and remote: the same checks on both.

use std::{sync::Arc, time::Duration};

use bowline_model::{Code, Health, Instance};
use bowline_registry::{
    Error, HEARTBEATS_MAX, HistoryId, InstanceChange, InstanceEvent, InstanceWatch, Query, Registry,
};
use bowline_runtime::time::timeout;

use crate::support::{BOUND, Fixture, id, instance, service};

/// What a check works with.
struct Subject {
    name: &'static str,
    registry: Arc<dyn Registry>,
    _fixture: Fixture,
}

/// A node's own registry, and the remote one over another node.
async fn subjects() -> [Subject; 2] {
    let (near, far) = (Fixture::start().await, Fixture::start().await);
    let remote = Arc::new(far.remote());
    [
        Subject { name: "near", registry: near.node.registry(), _fixture: near },
        Subject { name: "remote", registry: remote, _fixture: far },
    ]
}

async fn next(watch: &mut Box<dyn InstanceWatch>) -> InstanceEvent {
    timeout(BOUND, watch.next()).await.expect("an event comes").unwrap()
}

#[tokio::test]
async fn what_is_registered_is_found_until_it_is_deregistered() {
    for Subject { name, registry, _fixture } in subjects().await {
        let mut full = instance("order-1");
        full.weight = 7;
        full.zone = Some("a".to_owned());
        full.metadata.insert("k".to_owned(), "v".to_owned());
        let revision = registry.register(full.clone(), Some(Duration::from_secs(30))).await.unwrap();
        registry.register(instance("user-1"), None).await.unwrap();
        let orders = registry.discover(&Query::service(service("order"))).await.unwrap();
        assert_eq!(orders.instances, [full], "{name}");
        assert!(orders.revision > revision && orders.history.is_some() && !orders.more, "{name}: {orders:?}");
        let services = registry.services().await.unwrap();
        let services: Vec<_> = services.iter().map(|s| (s.name.as_str(), s.instances, s.healthy)).collect();
        assert_eq!(services, [("order", 1, 1), ("user", 1, 1)], "{name}");
        assert!(registry.deregister(&id("order-1")).await.unwrap(), "{name}");
        assert!(!registry.deregister(&id("order-1")).await.unwrap(), "{name}");
        let all = registry.discover(&Query::default()).await.unwrap();
        assert_eq!(all.instances, [instance("user-1")], "{name}");
    }
}

#[tokio::test]
async fn queries_are_filtered_and_paged() {
    for Subject { name, registry, _fixture } in subjects().await {
        for at in 1..=4 {
            let health = if at == 2 { Health::Unhealthy } else { Health::Healthy };
            registry.register(Instance { health, ..instance(&format!("order-{at}")) }, None).await.unwrap();
        }
        let ids = async |query: Query| {
            let found = registry.discover(&query).await.unwrap();
            let ids: Vec<_> = found.instances.iter().map(|found| found.id.to_string()).collect();
            (ids.join(" "), found.more)
        };
        let healthy = Query { health: Some(Health::Healthy), ..Query::default() };
        assert_eq!(ids(healthy.clone()).await, ("order-1 order-3 order-4".to_owned(), false), "{name}");
        let page = Query { limit: Some(1), after: Some(id("order-1")), ..healthy };
        assert_eq!(ids(page).await, ("order-3".to_owned(), true), "{name}");
        let none = Query { limit: Some(0), ..Query::default() };
        assert_eq!(ids(none).await, (String::new(), true), "{name}");
    }
}

#[tokio::test]
async fn heartbeats_are_answered_in_their_order() {
    for Subject { name, registry, _fixture } in subjects().await {
        let ttl = Duration::from_secs(30);
        registry.register(instance("order-1"), Some(ttl)).await.unwrap();
        registry.register(instance("order-2"), None).await.unwrap();
        let answers = registry.heartbeat(&[id("order-2"), id("nobody-1"), id("order-1")]).await.unwrap();
        let answers: Vec<_> = answers.iter().map(|answer| (answer.id.as_str(), answer.known, answer.ttl)).collect();
        let expected = [("order-2", true, None), ("nobody-1", false, None), ("order-1", true, Some(ttl))];
        assert_eq!(answers, expected, "{name}");
        assert!(registry.heartbeat(&[]).await.unwrap().is_empty(), "{name}");
        let many = vec![id("order-1"); HEARTBEATS_MAX + 1];
        assert!(matches!(registry.heartbeat(&many).await, Err(Error::Invalid { .. })), "{name}");
    }
}

#[tokio::test]
async fn what_breaks_a_bound_is_refused() {
    for Subject { name, registry, _fixture } in subjects().await {
        let heavy = Instance { weight: 1001, ..instance("order-1") };
        let error = registry.register(heavy, None).await.unwrap_err();
        assert!(matches!(error, Error::InvalidInstance(_)), "{name}: {error:?}");
        for ttl in [Duration::ZERO, Duration::from_millis(999), Duration::from_secs(3601)] {
            let error = registry.register(instance("order-1"), Some(ttl)).await.unwrap_err();
            assert!(matches!(error, Error::Invalid { what: "ttl", .. }), "{name}: {error:?}");
        }
        assert!(registry.discover(&Query::default()).await.unwrap().instances.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn registering_the_same_again_only_renews() {
    for Subject { name, registry, _fixture } in subjects().await {
        let ttl = Some(Duration::from_secs(30));
        let first = registry.register(instance("order-1"), ttl).await.unwrap();
        assert_eq!(registry.register(instance("order-1"), ttl).await.unwrap(), first, "{name}");
        let changed = Instance { weight: 1, ..instance("order-1") };
        assert!(registry.register(changed, ttl).await.unwrap() > first, "{name}");
    }
}

#[tokio::test]
async fn a_watch_tells_every_change_once_and_in_order() {
    for Subject { name, registry, _fixture } in subjects().await {
        let from = registry.discover(&Query::default()).await.unwrap().revision;
        let first = registry.register(instance("order-1"), None).await.unwrap();
        let query = Query::service(service("order"));
        let mut watch = registry.watch(&query, from).await.unwrap();
        let put = InstanceEvent { revision: first, change: InstanceChange::Put(instance("order-1")) };
        assert_eq!(next(&mut watch).await, put, "{name}");
        // An abandoned wait loses nothing.
        assert!(timeout(Duration::ZERO, watch.next()).await.is_err(), "{name}");
        registry.register(instance("user-1"), None).await.unwrap();
        registry.deregister(&id("order-1")).await.unwrap();
        let deleted = next(&mut watch).await;
        assert_eq!(deleted.change, InstanceChange::Delete { id: id("order-1"), service: service("order") }, "{name}");
        assert!(watch.revision().is_none_or(|seen| seen <= deleted.revision), "{name}");
        // Another one resumes where this one is.
        let last = registry.register(instance("order-2"), None).await.unwrap();
        let mut resumed = registry.watch(&query, deleted.revision).await.unwrap();
        assert_eq!(next(&mut resumed).await.revision, last, "{name}");
    }
}

#[tokio::test]
async fn a_watch_knows_where_to_resume() {
    for Subject { name, registry, _fixture } in subjects().await {
        let mut revisions = Vec::new();
        for at in 1..=3 {
            revisions.push(registry.register(instance(&format!("order-{at}")), None).await.unwrap());
        }
        let mut watch = registry.watch(&Query::default(), 0).await.unwrap();
        assert_eq!(watch.revision(), Some(0), "{name}");
        for revision in revisions {
            assert_eq!(next(&mut watch).await.revision, revision, "{name}");
            // More of the same revision may follow.
            assert_eq!(watch.revision(), Some(revision - 1), "{name}");
        }
    }
}

#[tokio::test]
async fn a_watch_that_cannot_be_complete_is_refused() {
    for Subject { name, registry, _fixture } in subjects().await {
        registry.register(instance("order-1"), None).await.unwrap();
        let now = registry.discover(&Query::default()).await.unwrap();
        let refusal = async |query: Query, from| registry.watch(&query, from).await.err().unwrap();
        let future = refusal(Query::default(), now.revision + 1000).await;
        assert!(matches!(future, Error::OtherHistory), "{name}: {future:?}");
        let HistoryId(own) = now.history.unwrap();
        let foreign = Query { history: Some(HistoryId(own ^ 1)), ..Query::default() };
        let foreign = refusal(foreign, now.revision).await;
        assert!(matches!(foreign, Error::OtherHistory), "{name}: {foreign:?}");
        assert_eq!(foreign.code(), Code::OutOfRange);
        for filtered in [
            Query { health: Some(Health::Healthy), ..Query::default() },
            Query { after: Some(id("order-1")), ..Query::default() },
            Query { limit: Some(1), ..Query::default() },
        ] {
            let error = refusal(filtered, now.revision).await;
            assert!(matches!(error, Error::Invalid { .. }), "{name}: {error:?}");
        }
        let own = Query { history: now.history, ..Query::default() };
        assert!(registry.watch(&own, now.revision).await.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn a_registry_that_is_gone_is_unavailable() {
    let fixture = Fixture::start().await;
    let (near, remote) = (fixture.node.registry(), fixture.remote());
    let mut watch = remote.watch(&Query::default(), 0).await.unwrap();
    fixture.node.stop().await;
    assert_eq!(timeout(BOUND, watch.next()).await.unwrap().unwrap_err().code(), Code::Unavailable);
    for registry in [near, Arc::new(remote)] {
        let error = registry.register(instance("order-1"), None).await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable, "{error:?}");
    }
}
