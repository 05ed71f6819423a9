//! What somebody changed, by the audit: its entries name keys of the store, of which this makes words.

use std::collections::{BTreeMap, BTreeSet};

use bowline_config::VersionSummary;
use bowline_model::{
    ConfigKey, ServiceName,
    mesh::{BreakerCommand, BreakerOrder, Fault, Steering, Traffic},
};
use bowline_provider_remote::wire::{
    AuditActor, AuditChange, AuditClass, AuditEntry, ChangeKind, SystemChange, SystemChangeKind,
};

use super::Asked;
use crate::{actor, api::Shared, error::ApiError};

/// Entries that are read at once.
const PAGE: usize = 500;
/// The most pages: those of all entries that are kept.
const PAGES_MAX: usize = 24;
/// Nanoseconds of a millisecond; ids of entries are nanoseconds.
const NANOS: u64 = 1_000_000;

/// What somebody changed in that time: of each class of entries the newest first.
pub(super) async fn changes(shared: &Shared, asked: &Asked) -> Result<Vec<SystemChange>, ApiError> {
    use SystemChangeKind::{Alert, Health, Instance};
    if asked.kind.is_some() && asked.has_kind(&[Alert, Health, Instance]) {
        return Ok(Vec::new());
    }
    let mut found = of_class(shared, asked, AuditClass::Other).await?;
    found.extend(of_class(shared, asked, AuditClass::Messages).await?);
    Ok(found)
}

async fn of_class(shared: &Shared, asked: &Asked, class: AuditClass) -> Result<Vec<SystemChange>, ApiError> {
    let mut before = asked.until_ms.checked_add(1).and_then(|end| end.checked_mul(NANOS));
    let mut found = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = shared.audit.entries(Some(class), before, PAGE).await;
        let (entries, more) = page.map_err(|error| ApiError::of(error.code(), &error))?;
        for (id, class, record) in entries {
            before = Some(id);
            let entry = record.into_wire(id, class);
            if entry.at_unix_ms < asked.since_ms || found.len() >= asked.limit {
                found.truncate(asked.limit);
                return Ok(found);
            }
            if asked.has(entry.at_unix_ms) {
                let told = of_entry(shared, &entry).await?;
                found.extend(told.into_iter().filter(|change| asked.is_about(change)));
            }
        }
        if !more {
            break;
        }
    }
    found.truncate(asked.limit);
    Ok(found)
}

/// What a key of the store is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    /// A version of a document.
    Version(ConfigKey, u64),
    /// A document as a whole.
    Document(ConfigKey),
    Schema(ConfigKey),
    /// A rollout of that service.
    Rollout(ServiceName),
    Token(String),
    /// One for a workload, by its name: `service/order`.
    JoinToken(String),
    Silence(String),
    /// Dead letters of a topic: the one at that position, or all.
    Dead(String, Option<String>),
    /// A group of a topic.
    Group(String, String),
    /// One of that service.
    Saga(String, String),
}

impl About {
    fn of(key: &str) -> Option<Self> {
        let (area, rest) = key.split_once('/')?;
        match (area, rest.split_once('/')?) {
            ("config", ("version", versions)) => {
                let (document, number) = versions.rsplit_once('/')?;
                Some(Self::Version(ConfigKey::new(document).ok()?, number.parse().ok()?))
            }
            ("config", ("doc", document)) => ConfigKey::new(document).ok().map(Self::Document),
            ("config", ("schema", document)) => ConfigKey::new(document).ok().map(Self::Schema),
            ("deploy", ("live", service)) => ServiceName::new(service).ok().map(Self::Rollout),
            ("access", ("tokens", id)) => Some(Self::Token(id.to_owned())),
            ("mesh", ("joins", rest)) => {
                rest.rsplit_once('/').map(|(workload, _)| Self::JoinToken(workload.to_owned()))
            }
            ("topics", (topic, "dead")) => Some(Self::Dead(topic.to_owned(), None)),
            ("topics", (topic, rest)) => match rest.split_once('/')? {
                ("dead", position) => Some(Self::Dead(topic.to_owned(), Some(position.to_owned()))),
                ("groups", group) => Some(Self::Group(topic.to_owned(), group.to_owned())),
                _ => None,
            },
            ("sagas", (service, id)) => Some(Self::Saga(service.to_owned(), id.to_owned())),
            ("alerts", ("v1", rest)) => rest.strip_prefix("silences/").map(|id| Self::Silence(id.to_owned())),
            _ => None,
        }
    }
}

/// What an entry tells; nothing where it is of what follows from something else.
async fn of_entry(shared: &Shared, entry: &AuditEntry) -> Result<Vec<SystemChange>, ApiError> {
    let about = |AuditChange { change, key }: &AuditChange| Some((About::of(key)?, *change));
    let abouts: BTreeSet<(About, bool)> =
        entry.changes.iter().filter_map(about).map(|(about, change)| (about, change == ChangeKind::Put)).collect();
    let published = |(about, is_put): &(About, bool)| match about {
        About::Version(key, _) if *is_put => Some(key.clone()),
        _ => None,
    };
    let published: Vec<ConfigKey> = abouts.iter().filter_map(published).collect();
    let mut told = Vec::new();
    for (about, is_put) in &abouts {
        match about {
            About::Version(key, number) if *is_put => told.extend(of_version(shared, entry, key, *number).await?),
            // Old versions make room for the one that is published.
            About::Version(..) => {}
            About::Document(key) if published.contains(key) || is_derived(key) => {}
            // What was deleted long ago is forgotten, to make room.
            About::Document(_) if !is_put => {}
            About::Document(key) => told.push(of_document(entry, key, "was deleted".to_owned())),
            About::Schema(key) => told.push(of_schema(entry, key, *is_put)),
            About::Rollout(service) => told.extend(of_order(entry, service)),
            // The root token, at the first start: nobody made it.
            About::Token(_) if entry.actor == AuditActor::Bowline => {}
            About::Token(id) => told.push(of_token(entry, id, *is_put)),
            About::JoinToken(workload) => told.extend(of_join_token(entry, workload, *is_put)),
            About::Silence(id) => told.extend(of_silence(shared, entry, id, *is_put)),
            About::Dead(topic, position) => told.push(of_dead(entry, topic, position.as_deref(), *is_put)),
            About::Group(topic, group) => {
                let what = if *is_put { "was moved" } else { "was removed" };
                told.push(change(entry, SystemChangeKind::Message, topic, format!("group {group} {what}")));
            }
            About::Saga(service, id) => {
                told.push(change(entry, SystemChangeKind::Message, service, format!("saga {id} was tried again")));
            }
        }
    }
    Ok(told)
}

/// Something that whoever the entry names did.
fn change(
    entry: &AuditEntry,
    kind: SystemChangeKind,
    subject: &(impl ToString + ?Sized),
    what: impl Into<String>,
) -> SystemChange {
    SystemChange {
        at_unix_ms: entry.at_unix_ms,
        kind,
        subject: subject.to_string(),
        what: what.into(),
        actor: Some(actor::name(&entry.actor).to_owned()),
        service: None,
        link: None,
    }
}

// === configuration ===

/// Whether a document follows from others.
fn is_derived(key: &ConfigKey) -> bool {
    ConfigKey::SNAPSHOT_NAMESPACES.contains(&key.namespace())
}

async fn of_version(
    shared: &Shared,
    entry: &AuditEntry,
    key: &ConfigKey,
    number: u64,
) -> Result<Vec<SystemChange>, ApiError> {
    if is_derived(key) {
        return Ok(Vec::new());
    }
    if *key == ConfigKey::traffic() {
        return of_traffic(shared, entry, number).await;
    }
    let kept = shared.config.history(key, number.checked_add(1), 1).await?;
    let kept = kept.into_iter().find(|version| version.number == number);
    Ok(vec![of_document(entry, key, published(number, kept.as_ref()))])
}

/// That a version was published, and why as far as it is kept.
fn published(number: u64, kept: Option<&VersionSummary>) -> String {
    let what = match kept.and_then(|version| version.restores) {
        Some(restores) => format!("version {number} brought version {restores} back"),
        None => format!("version {number} was published"),
    };
    let comment = kept.map(|version| version.comment.as_str()).filter(|comment| !comment.is_empty());
    comment.map_or_else(|| what.clone(), |comment| format!("{what}: {comment}"))
}

fn of_document(entry: &AuditEntry, key: &ConfigKey, what: String) -> SystemChange {
    let kind = if *key == ConfigKey::routes() { SystemChangeKind::Routes } else { SystemChangeKind::Config };
    SystemChange { link: Some(format!("/v1/config/{key}/history")), ..change(entry, kind, key, what) }
}

fn of_schema(entry: &AuditEntry, key: &ConfigKey, is_put: bool) -> SystemChange {
    let what = if is_put { "its schema was replaced" } else { "its schema was removed" };
    let link = Some(format!("/v1/config/{key}/schema"));
    SystemChange { link, ..change(entry, SystemChangeKind::Schema, key, what) }
}

/// A version of how traffic is steered and disturbed: the faults, and the orders to breakers, that came or went with
/// it. What Bowline steers between versions follows from a rollout, and is told with it.
async fn of_traffic(shared: &Shared, entry: &AuditEntry, number: u64) -> Result<Vec<SystemChange>, ApiError> {
    let key = ConfigKey::traffic();
    let now = traffic(shared, number).await?;
    // The one before may be kept no longer, or have been deleted.
    let before = traffic(shared, number.saturating_sub(1)).await?;
    let (Some(now), Some(before)) = (now, before) else {
        return Ok(vec![of_document(entry, &key, published(number, None))]);
    };
    let link = Some(format!("/v1/config/{key}/history"));
    let of = |fault: &Fault, what: String| SystemChange {
        service: Some(fault.service.clone()),
        link: link.clone(),
        ..change(entry, SystemChangeKind::Fault, &fault.id, what)
    };
    let came = now.faults.iter().filter(|fault| !before.faults.contains(fault));
    let went = before.faults.iter().filter(|fault| now.faults.iter().all(|other| other.id != fault.id));
    let mut told: Vec<_> = came.map(|fault| of(fault, fault.to_string())).collect();
    told.extend(went.map(|fault| of(fault, format!("ended: {fault}"))));
    told.extend(of_breakers(entry, &now, &before));
    if by_version(&now) != by_version(&before) && entry.actor != AuditActor::Bowline {
        told.push(of_document(entry, &key, published(number, None)));
    }
    Ok(told)
}

/// The orders to breakers that came or went; a reset is over when it is told.
fn of_breakers(entry: &AuditEntry, now: &Traffic, before: &Traffic) -> Vec<SystemChange> {
    let of = |(service, order): (&ServiceName, &BreakerOrder), what: String| SystemChange {
        service: Some(service.clone()),
        link: Some(format!("/v1/config/{}/history", ConfigKey::traffic())),
        ..change(entry, SystemChangeKind::Breaker, &order.subject(service), what)
    };
    let (now, before) = (orders(now), orders(before));
    let came = now.iter().filter(|order| !before.contains(order));
    let came: Vec<_> = came.map(|&(service, order)| of((service, order), order.in_words(service))).collect();
    let is_about =
        |one: &BreakerOrder, other: &BreakerOrder| (&one.caller, &one.instance) == (&other.caller, &other.instance);
    let is_replaced = |service: &ServiceName, order: &BreakerOrder| {
        now.iter().any(|&(of, other)| of == service && is_about(order, other))
    };
    let went =
        before.iter().filter(|(service, order)| order.order != BreakerCommand::Reset && !is_replaced(service, order));
    let ended = |&(service, order): &(&ServiceName, &BreakerOrder)| {
        of((service, order), format!("ended: {}", order.in_words(service)))
    };
    came.into_iter().chain(went.map(ended)).collect()
}

fn orders(traffic: &Traffic) -> Vec<(&ServiceName, &BreakerOrder)> {
    let steering = traffic.steering.iter();
    steering.flat_map(|(service, it)| it.breakers.iter().map(move |order| (service, order))).collect()
}

/// How traffic is steered between versions.
fn by_version(traffic: &Traffic) -> BTreeMap<&ServiceName, Steering> {
    let steering = traffic.steering.iter().filter(|(_, steering)| steering.is_by_version());
    steering.map(|(service, it)| (service, Steering { breakers: Vec::new(), ..it.clone() })).collect()
}

/// The traffic of a version; that before the first is none.
async fn traffic(shared: &Shared, number: u64) -> Result<Option<Traffic>, ApiError> {
    if number == 0 {
        return Ok(Some(Traffic::default()));
    }
    let version = shared.config.get_version(&ConfigKey::traffic(), number).await?;
    Ok(version.and_then(|version| version.document.read().ok()))
}

// === orders, tokens, silences ===

/// What was ordered of a rollout.
fn of_order(entry: &AuditEntry, service: &ServiceName) -> Option<SystemChange> {
    let (_, path) = entry.operation.as_deref()?.split_once(' ')?;
    let orders = path.strip_prefix("/v1/deployments/")?.strip_prefix(service.as_str())?;
    let what = match orders.strip_prefix('/') {
        Some(order) => format!("{order} was ordered"),
        None => "a rollout was begun".to_owned(),
    };
    let told = change(entry, SystemChangeKind::Deployment, service, what);
    Some(SystemChange { link: Some(format!("/v1/deployments/{service}")), service: Some(service.clone()), ..told })
}

fn of_token(entry: &AuditEntry, id: &str, is_put: bool) -> SystemChange {
    change(entry, SystemChangeKind::Token, id, if is_put { "a token was made" } else { "a token was revoked" })
}

/// A token to join the mesh that somebody ordered. Those that Bowline makes for what it runs or for a call of its own,
/// that they are used, and that old ones are forgotten, nobody did.
fn of_join_token(entry: &AuditEntry, workload: &str, is_put: bool) -> Option<SystemChange> {
    let is_ordered = entry.operation.as_deref() == Some("POST /v1/mesh/join-tokens");
    let what = "a token to join the mesh was made";
    (is_ordered && is_put).then(|| change(entry, SystemChangeKind::Token, workload, what))
}

/// Dead letters that somebody gave back to their groups, or deleted.
fn of_dead(entry: &AuditEntry, topic: &str, position: Option<&str>, is_put: bool) -> SystemChange {
    let what = if is_put { "given back" } else { "deleted" };
    let what = match position {
        Some(position) => format!("dead letter {position} was {what}"),
        None => format!("all dead letters were {what}"),
    };
    let link = Some(format!("/v1/topics/{topic}/dead"));
    SystemChange { link, ..change(entry, SystemChangeKind::Message, topic, what) }
}

/// A silence that somebody made, or ended; that one that is over is forgotten is no change.
fn of_silence(shared: &Shared, entry: &AuditEntry, id: &str, is_put: bool) -> Option<SystemChange> {
    if !is_put {
        return None;
    }
    let is_ended = entry.operation.as_deref().is_some_and(|operation| operation.starts_with("DELETE "));
    let silence = shared.alerts.silences().into_iter().find(|silence| silence.id == id);
    let about = silence.map(|it| format!(" for {}: {}", it.matchers.join(", "), it.comment)).unwrap_or_default();
    let what = if is_ended { format!("was ended{about}") } else { format!("was made{about}") };
    let link = Some("/v1/alerts/silences".to_owned());
    Some(SystemChange { link, ..change(entry, SystemChangeKind::Silence, id, what) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::JOIN_FOR_CALL;

    #[test]
    fn keys_are_about_something() {
        let shop = || ConfigKey::new("shop/order").unwrap();
        let order = || ServiceName::new("order").unwrap();
        for (key, expect) in [
            ("config/version/shop/order/00000000000000000007", Some(About::Version(shop(), 7))),
            ("config/doc/shop/order", Some(About::Document(shop()))),
            ("config/schema/shop/order", Some(About::Schema(shop()))),
            ("deploy/live/order", Some(About::Rollout(order()))),
            ("access/tokens/ab12", Some(About::Token("ab12".to_owned()))),
            ("mesh/joins/service/order/00ff", Some(About::JoinToken("service/order".to_owned()))),
            ("mesh/joins/gateway/00ff", Some(About::JoinToken("gateway".to_owned()))),
            ("mesh/joins/00ff", None),
            ("alerts/v1/silences/s1", Some(About::Silence("s1".to_owned()))),
            ("alerts/v1/active/a/b", None),
            ("topics/order.placed/dead", Some(About::Dead("order.placed".to_owned(), None))),
            ("topics/order.placed/dead/7", Some(About::Dead("order.placed".to_owned(), Some("7".to_owned())))),
            ("topics/order.placed/groups/mail", Some(About::Group("order.placed".to_owned(), "mail".to_owned()))),
            ("topics/order.placed", None),
            ("sagas/order/s-1", Some(About::Saga("order".to_owned(), "s-1".to_owned()))),
            ("config/version/shop/order/seven", None),
            ("deploy/ended/order/1", None),
            ("mesh/ca", None),
            ("config", None),
        ] {
            assert_eq!(About::of(key), expect, "{key}");
        }
    }

    #[test]
    fn join_tokens_are_told_of_who_ordered_them() {
        let entry = |actor, operation: Option<&str>| AuditEntry {
            id: "1".to_owned(),
            class: AuditClass::Other,
            at_unix_ms: 1,
            actor,
            operation: operation.map(str::to_owned),
            changes: Vec::new(),
            changes_omitted: 0,
        };
        let told = |entry: &AuditEntry, is_put| of_join_token(entry, "service/order", is_put).map(|it| it.subject);
        let ordered = entry(AuditActor::Anonymous { address: None }, Some("POST /v1/mesh/join-tokens"));
        assert_eq!(told(&ordered, true).as_deref(), Some("service/order"));
        assert_eq!(told(&ordered, false), None);
        let for_a_call = entry(AuditActor::Anonymous { address: None }, Some(JOIN_FOR_CALL));
        assert_eq!(told(&for_a_call, true), None);
        let used = entry(AuditActor::Anonymous { address: None }, Some("POST /v1/mesh/certificates"));
        assert_eq!(told(&used, true), None);
        assert_eq!(told(&entry(AuditActor::Bowline, None), true), None);
    }
}
