//! Who changed what, as it is listed.

use bowline_provider_remote::wire::{AuditActor, AuditClass, AuditEntry, ChangeKind, Role};
use bowline_runtime::time::Duration;

use crate::support::{Fixture, instance, registration, until};

fn keys(entry: &AuditEntry) -> Vec<(ChangeKind, &str)> {
    entry.changes.iter().map(|change| (change.change, &*change.key)).collect()
}

#[tokio::test]
async fn every_change_over_the_api_says_who_what_and_when() {
    let fixture = Fixture::start().await;
    let created = fixture.token("ci", "editor").await;
    fixture.register("order-1").await;
    fixture.ask_as(&created.token, "PUT", "/v1/instances/order-2", registration("order")).await;
    assert_eq!(fixture.ask("DELETE", "/v1/instances/order-1", "").await.status, 204);
    let entries = fixture.audit("").await.entries;
    let [deregistered, registered, first, token, root] = &entries[..] else { panic!("{entries:#?}") };

    assert_eq!(deregistered.operation.as_deref(), Some("DELETE /v1/instances/order-1"));
    assert_eq!(keys(deregistered), [(ChangeKind::Delete, "registry/instances/order-1")]);
    let AuditActor::Anonymous { address: Some(address) } = &deregistered.actor else { panic!("{deregistered:?}") };
    assert!(address.starts_with("127.0.0.1:"), "{address}");

    assert_eq!(registered.operation.as_deref(), Some("PUT /v1/instances/order-2"));
    assert!(matches!(&registered.actor, AuditActor::Token { id, name, role: Role::Editor, .. }
        if *id == created.about.id && name == "ci"));
    assert_eq!((registered.class, first.class), (AuditClass::Registry, AuditClass::Registry));

    assert_eq!(token.operation.as_deref(), Some("POST /v1/tokens"));
    assert_eq!(keys(token), [(ChangeKind::Put, &*format!("access/tokens/{}", created.about.id))]);
    assert!(matches!(&token.actor, AuditActor::Token { id, role: Role::Admin, .. } if id == "root"));
    assert_eq!((token.class, root.class), (AuditClass::Other, AuditClass::Other));

    assert_eq!((&root.actor, &root.operation), (&AuditActor::Bowline, &None));
    assert!(entries.windows(2).all(|two| two[0].id > two[1].id && two[0].at_unix_ms >= two[1].at_unix_ms));
}

#[tokio::test]
async fn what_is_refused_or_changes_nothing_is_no_change() {
    let fixture = Fixture::start().await;
    fixture.register("order-1").await;
    let before = fixture.audit("").await;
    fixture.register("order-1").await;
    fixture.ask("POST", "/v1/instances/order-1/heartbeat", "").await;
    fixture.ask("PUT", "/v1/instances/order-2", r#"{"service":"order","address":"127.0.0.1:0"}"#).await;
    fixture.ask("DELETE", "/v1/instances/nobody-1", "").await.problem(404, "not_found");
    fixture.ask("POST", "/v1/spans", r#"{"spans":[]}"#).await;
    fixture.get("/v1/instances").await;
    assert_eq!(fixture.audit("").await, before);
}

#[tokio::test]
async fn a_lease_that_is_changed_or_ended_is_one_entry() {
    let fixture = Fixture::start().await;
    let body = |ttl: &str| format!(r#"{{"service":"order","address":"127.0.0.1:9000","ttl":"{ttl}"}}"#);
    for ttl in ["10s", "20s"] {
        assert_eq!(fixture.ask("PUT", "/v1/instances/order-1", body(ttl)).await.status, 200);
    }
    assert_eq!(fixture.ask("DELETE", "/v1/instances/order-1", "").await.status, 204);
    let entries = fixture.audit("?class=registry").await.entries;
    let told: Vec<_> = entries.iter().map(|entry| (entry.operation.as_deref().unwrap(), keys(entry)[0].0)).collect();
    let put = ("PUT /v1/instances/order-1", ChangeKind::Put);
    assert_eq!(told, [("DELETE /v1/instances/order-1", ChangeKind::Delete), put, put]);
}

#[tokio::test]
async fn what_this_process_does_is_bowlines() {
    let fixture = Fixture::start().await;
    let registry = fixture.node.registry();
    registry.register(instance("order-1"), Some(Duration::from_secs(10))).await.unwrap();
    registry.deregister(&instance("order-1").id).await.unwrap();
    let entries = fixture.audit("?class=registry").await.entries;
    assert_eq!(entries.len(), 2);
    assert!(entries.iter().all(|entry| entry.actor == AuditActor::Bowline && entry.operation.is_none()));
}

#[tokio::test]
async fn refusals_are_recorded_one_a_second_and_counted() {
    let fixture = Fixture::start().await;
    for _ in 0..5 {
        fixture.get("/v1/tokens").await.problem(401, "unauthenticated");
    }
    let refused = fixture.audit("?class=refused").await.entries;
    assert!((1..5).contains(&refused.len()), "{refused:?}");
    assert_eq!((refused[0].operation.as_deref(), &refused[0].changes[..]), (Some("GET /v1/tokens"), &[][..]));
    assert!(matches!(&refused[0].actor, AuditActor::Anonymous { address: Some(_) }));
    let metrics = String::from_utf8(fixture.get("/metrics").await.body.to_vec()).unwrap();
    assert!(metrics.contains("bowline_api_refused_total 5\n"), "{metrics}");
    let is_recorded_again = async || {
        fixture.get("/v1/tokens").await;
        fixture.audit("?class=refused").await.entries.len() > refused.len()
    };
    until(is_recorded_again).await;
}

#[tokio::test]
async fn the_list_is_paged_from_the_newest_on() {
    let fixture = Fixture::start().await;
    for at in 0..5 {
        fixture.register(&format!("order-{at}")).await;
    }
    let all = fixture.audit("?limit=1000").await;
    assert_eq!((all.entries.len(), all.more), (6, false));
    let mut paged = Vec::new();
    let mut query = "?limit=4".to_owned();
    loop {
        let page = fixture.audit(&query).await;
        paged.extend(page.entries);
        if !page.more {
            break;
        }
        query = format!("?limit=4&before={}", paged.last().unwrap().id);
    }
    assert_eq!(paged, all.entries);
    for bad in ["limit=0", "limit=1001", "limit=x", "before=1", "before=zzzzzzzzzzzzzzzz", "class=all", "who=root"] {
        fixture.get(&format!("/v1/audit?{bad}")).await.problem(400, "invalid_argument");
    }
}

#[tokio::test]
async fn a_restart_keeps_the_audit() {
    let fixture = Fixture::start().await;
    fixture.register("order-1").await;
    let before = fixture.audit("").await;
    let fixture = fixture.restart().await;
    assert_eq!(fixture.audit("").await, before);
    fixture.register("order-2").await;
    let after = fixture.audit("").await.entries;
    assert_eq!(after[1..], before.entries[..]);
    assert!(after[0].id > after[1].id);
}
