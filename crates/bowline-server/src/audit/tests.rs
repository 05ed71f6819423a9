//! The store that records: an entry exactly if there is a change, whoever makes it, and no more than are kept.

use bowline_model::Code;
use bowline_provider_remote::wire::{AuditActor, ChangeKind};
use bowline_runtime::metric;
use bowline_store::{Embedded, Settings, conformance};
use bowline_testkit::TempDir;

use super::*;

const TTL: Duration = Duration::from_secs(2);

/// A recording store over one that can be asked by itself.
struct Fixture {
    dir: TempDir,
    bare: Embedded,
    audited: Arc<Audited>,
}

impl Fixture {
    async fn new() -> Self {
        Self::open(bowline_testkit::temp_dir(), kept::MAX, |_| {}).await
    }

    async fn open(dir: TempDir, max: fn(AuditClass) -> usize, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new(dir.path().join("store.redb"));
        change(&mut settings);
        let bare = Embedded::open(settings, &metric::Registry::default()).await.unwrap();
        let audited = Arc::new(Audited::open_with(Arc::new(bare.clone()), max).await.unwrap());
        Self { dir, bare, audited }
    }

    /// Every entry, newest first, as the keys that it says were changed.
    async fn entries(&self) -> Vec<String> {
        let (found, _) = self.audited.entries(None, None, 10_000).await.unwrap();
        let told = found.into_iter().map(|(id, class, record)| {
            let entry = record.into_wire(id, class);
            let changes = entry.changes.iter().map(|change| match change.change {
                ChangeKind::Put => format!("+{}", change.key),
                ChangeKind::Delete => format!("-{}", change.key),
            });
            changes.collect::<Vec<_>>().join(" ")
        });
        told.collect()
    }

    /// Waits until there are no more entries than that.
    async fn pruned(&self, class: AuditClass, count_max: usize) {
        let mut watch = self.bare.watch(PREFIX, self.bare.revision().await.unwrap()).await.unwrap();
        while self.count(class).await > count_max {
            time::timeout(Duration::from_secs(20), watch.next()).await.expect("entries are removed").unwrap();
        }
    }

    async fn count(&self, class: AuditClass) -> usize {
        self.bare.range(&entry::prefix(class), None, 10_000).await.unwrap().entries.len()
    }
}

fn put(key: &str) -> Txn {
    Txn::default().put(key, "1")
}

#[tokio::test]
async fn a_change_and_its_entry_are_one_transaction() {
    let fixture = Fixture::new().await;
    let revision = fixture.audited.commit(put("a/1").put("a/2", "1").delete("a/3")).await.unwrap();
    assert_eq!(fixture.entries().await, ["+a/1 +a/2 -a/3"]);
    let page = fixture.bare.range(PREFIX, None, 10).await.unwrap();
    assert_eq!((page.entries[0].modified, page.revision), (revision, revision));
}

#[tokio::test(start_paused = true)]
async fn what_changes_nothing_has_no_entry() {
    let fixture = Fixture::new().await;
    let store = &fixture.audited;
    fixture.bare.commit(put("a/there")).await.unwrap();
    let before = store.revision().await.unwrap();
    let conflict = store.commit(put("a/1").when("a/1", Expect::Exists)).await;
    assert!(matches!(conflict, Err(Error::Conflict { .. })), "{conflict:?}");
    let conflict = store.commit(Txn::default().when("a/there", Expect::Missing).delete("a/there")).await;
    assert!(matches!(&conflict, Err(Error::Conflict { key, .. }) if key == "a/there"), "{conflict:?}");
    assert!(matches!(store.commit(put("")).await, Err(Error::Invalid { .. })));
    let refused = store.commit(put("a/1").put_leased("a/2", "1", LeaseId(77))).await;
    assert!(matches!(refused, Err(Error::NoLease(_))), "{refused:?}");
    assert_eq!(store.commit(Txn::default().delete("a/missing").delete("a/too")).await.unwrap(), before);
    assert_eq!(store.commit(Txn::default().when("a/there", Expect::Exists)).await.unwrap(), before);
    let lease = store.grant(TTL).await.unwrap();
    store.keep_alive(&[lease]).await.unwrap();
    assert!(store.revoke(lease).await.unwrap());
    assert!(!store.revoke(lease).await.unwrap());
    assert_eq!(fixture.entries().await, [""; 0]);
    assert_eq!(fixture.audited.kept().oldest(100), None, "nothing is remembered of it");
}

#[tokio::test]
async fn deletions_are_recorded_if_something_was_there() {
    let fixture = Fixture::new().await;
    for key in ["a/1", "a/2"] {
        fixture.bare.commit(put(key)).await.unwrap();
    }
    fixture.audited.commit(Txn::default().delete("a/0").delete("a/1")).await.unwrap();
    fixture.audited.commit(Txn::default().when("a/2", Expect::Exists).delete("a/2")).await.unwrap();
    assert_eq!(fixture.entries().await, ["-a/2", "-a/0 -a/1"]);
}

#[tokio::test(start_paused = true)]
async fn an_entry_outlives_the_lease_of_its_change_and_expiry_has_none() {
    let fixture = Fixture::new().await;
    let (_, lease) = fixture.audited.commit_leased(put("registry/a"), TTL).await.unwrap();
    let entry = fixture.audited.get("registry/a").await.unwrap().unwrap();
    assert_eq!(entry.lease, Some(lease));
    sleep(TTL * 3).await;
    assert!(fixture.audited.get("registry/a").await.unwrap().is_none());
    assert_eq!(fixture.entries().await, ["+registry/a"]);
}

#[tokio::test]
async fn a_revoked_lease_is_one_recorded_change() {
    let fixture = Fixture::new().await;
    let (before, lease) = fixture.audited.commit_leased(put("registry/a").put("registry/b", "1"), TTL).await.unwrap();
    let mut watch = fixture.audited.watch("registry/", before).await.unwrap();
    assert!(fixture.audited.revoke(lease).await.unwrap());
    assert_eq!(fixture.audited.revision().await.unwrap(), before + 1);
    assert_eq!(fixture.entries().await, ["-registry/a -registry/b", "+registry/a +registry/b"]);
    let (a, b) = (watch.next().await.unwrap(), watch.next().await.unwrap());
    assert_eq!((a.revision, b.revision), (before + 1, before + 1));
    assert!(matches!(fixture.audited.time_left(lease).await, Err(Error::NoLease(_))));
}

#[tokio::test]
async fn acknowledgements_are_not_recorded() {
    let fixture = Fixture::new().await;
    let (_, lease) = fixture.audited.commit_leased(put("config/ack/shop/order/order-1"), TTL).await.unwrap();
    fixture.audited.commit(Txn::default().delete("config/ack/shop/order/order-1")).await.unwrap();
    assert!(fixture.audited.revoke(lease).await.unwrap());
    assert_eq!(fixture.entries().await, [""; 0]);
    fixture.audited.commit(put("config/ack/x").put("config/documents/x", "1")).await.unwrap();
    assert_eq!(fixture.entries().await, ["+config/ack/x +config/documents/x"]);
}

#[tokio::test]
async fn an_entry_says_who() {
    let fixture = Fixture::new().await;
    fixture.audited.commit(put("a/1")).await.unwrap();
    let peer = Some(([127, 0, 0, 1], 9).into());
    actor::scope(Acting::new(None, peer, "PUT", "/v1/a"), fixture.audited.commit(put("a/2"))).await.unwrap();
    actor::scope(Acting::new(None, None, "POST", "/v1/b"), fixture.audited.commit(put("a/3"))).await.unwrap();
    let (found, _) = fixture.audited.entries(None, None, 10).await.unwrap();
    let told: Vec<_> = found.into_iter().map(|(id, class, record)| record.into_wire(id, class)).collect();
    assert_eq!(told[0].operation.as_deref(), Some("POST /v1/b"));
    assert_eq!(told[1].actor, AuditActor::Anonymous { address: Some("127.0.0.1:9".to_owned()) });
    assert_eq!((&told[2].actor, &told[2].operation), (&AuditActor::Bowline, &None));
    assert!(told[0].at_unix_ms >= told[2].at_unix_ms && told[0].id > told[1].id);
}

#[tokio::test]
async fn a_transaction_leaves_place_for_its_entry() {
    let fixture = Fixture::new().await;
    let many = |count: usize| (0..count).fold(Txn::default(), |txn, at| txn.put(format!("a/{at}"), "1"));
    let error = fixture.audited.commit(many(TXN_OPS_MAX)).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { rule, .. } if rule.contains("127")), "{error}");
    fixture.audited.commit(many(OPS_MAX)).await.unwrap();
    let (found, _) = fixture.audited.entries(None, None, 10).await.unwrap();
    let [(id, class, record)] = &found[..] else { panic!("{found:?}") };
    let entry = record.clone().into_wire(*id, *class);
    assert_eq!((entry.changes.len(), entry.changes_omitted), (16, OPS_MAX - 16));
}

#[tokio::test]
async fn an_entry_names_what_was_put_however_much_made_room_for_it() {
    let fixture = Fixture::new().await;
    let deletes = (0..20).fold(Txn::default(), |txn, at| txn.delete(format!("a/{at}")));
    fixture.audited.commit(deletes.put("a/new", "1")).await.unwrap();
    let entries = fixture.entries().await;
    assert!(entries[0].starts_with("+a/new"), "{entries:?}");
}

#[tokio::test]
async fn a_lease_of_many_keys_is_recorded_before_it_ends() {
    let fixture = Fixture::new().await;
    let lease = fixture.bare.grant(TTL).await.unwrap();
    for part in 0..2 {
        let txn = (0..100).fold(Txn::default(), |txn, at| txn.put_leased(format!("a/{part}/{at}"), "1", lease));
        fixture.bare.commit(txn).await.unwrap();
    }
    assert!(fixture.audited.revoke(lease).await.unwrap());
    assert!(fixture.bare.range("a/", None, 1).await.unwrap().entries.is_empty());
    assert_eq!(fixture.entries().await.len(), 1);
}

const FEW: fn(AuditClass) -> usize = |_| 5;

#[tokio::test]
async fn the_newest_of_each_class_are_kept() {
    let fixture = Fixture::open(bowline_testkit::temp_dir(), FEW, |_| {}).await;
    for at in 0..3 {
        fixture.audited.commit(put(&format!("other/{at}"))).await.unwrap();
    }
    for at in 0..250 {
        fixture.audited.commit(put(&format!("registry/{at}"))).await.unwrap();
    }
    fixture.pruned(AuditClass::Registry, 5 + 100).await;
    assert_eq!(fixture.count(AuditClass::Other).await, 3);
    let entries = fixture.entries().await;
    assert!(entries.contains(&"+registry/249".to_owned()) && !entries.contains(&"+registry/0".to_owned()));
    assert!(!entries.iter().any(|entry| entry.contains("audit/")), "removal is not recorded");
    let (newest, more) = fixture.audited.entries(Some(AuditClass::Registry), None, 2).await.unwrap();
    assert!(more && newest[0].0 > newest[1].0);
    let (older, _) = fixture.audited.entries(Some(AuditClass::Registry), Some(newest[1].0), 1).await.unwrap();
    assert!(older[0].0 < newest[1].0);
}

#[tokio::test]
async fn a_restart_goes_on_and_removes_what_is_too_much() {
    let Fixture { dir, bare, audited } = Fixture::new().await;
    for at in 0..50 {
        audited.commit(put(&format!("a/{at}"))).await.unwrap();
    }
    let (before, _) = audited.entries(None, None, 1).await.unwrap();
    drop(audited);
    bare.close().await;
    drop(bare);
    let fixture = Fixture::open(dir, FEW, |_| {}).await;
    fixture.pruned(AuditClass::Other, 5).await;
    assert_eq!(fixture.entries().await, ["+a/49", "+a/48", "+a/47", "+a/46", "+a/45"]);
    fixture.audited.commit(put("a/next")).await.unwrap();
    let (after, _) = fixture.audited.entries(None, None, 1).await.unwrap();
    assert!(after[0].0 > before[0].0);
}

#[tokio::test]
async fn a_full_store_can_still_be_emptied() {
    let fixture =
        Fixture::open(bowline_testkit::temp_dir(), kept::MAX, |settings| settings.data_bytes_max = 8000).await;
    let mut count = 0;
    let error = loop {
        match fixture.audited.commit(put(&format!("a/{count}"))).await {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Code::InsufficientStorage);
    let entries = fixture.count(AuditClass::Other).await;
    assert_eq!(entries, count, "what was refused has no entry");
    for at in 0..count {
        fixture.audited.commit(Txn::default().delete(format!("a/{at}"))).await.unwrap();
    }
    assert!(fixture.bare.range("a/", None, 1).await.unwrap().entries.is_empty());
    assert_eq!(fixture.entries().await[0], format!("-a/{}", count - 1));
}

#[tokio::test]
async fn many_at_once_are_each_recorded() {
    let fixture = Fixture::new().await;
    let store: Arc<dyn Store> = fixture.audited.clone();
    conformance::concurrent_comparisons_lose_no_update(&store).await;
    let changes = fixture.bare.get("c/count").await.unwrap().unwrap();
    let entries = fixture.entries().await.len();
    assert_eq!(entries.to_string().as_bytes(), &changes.value[..]);
}

#[tokio::test(start_paused = true)]
async fn it_is_a_store_like_another() {
    let fixture = Fixture::new().await;
    let store: Arc<dyn Store> = fixture.audited.clone();
    conformance::entries_are_put_read_and_deleted(&store).await;
    conformance::revisions_count_changes(&store).await;
    conformance::a_failing_comparison_touches_nothing(&store).await;
    conformance::ranges_are_paged_in_order(&store).await;
    conformance::a_watch_sees_history_then_what_comes(&store).await;
    conformance::a_watch_ends_at_what_is_not_there(&store).await;
    conformance::an_abandoned_wait_loses_nothing(&store).await;
    conformance::progress_follows_what_was_told(&store).await;
    conformance::a_lease_ends_unless_it_is_renewed(&store).await;
    conformance::a_revoked_lease_is_final(&store).await;
    conformance::keys_put_anew_leave_their_lease(&store).await;
    conformance::a_commit_with_a_lease_is_one_step(&store).await;
    conformance::a_lasting_key_outlives_the_lease_granted_with_it(&store).await;
    conformance::a_lease_tells_its_keys(&store).await;
}
