//! Leases: they end in time, finally, and take their keys along.

use std::{sync::Arc, time::Duration};

use bowline_runtime::time;

use super::{key, next};
use crate::{Change, Error, Expect, LeaseId, Store, Txn};

const TTL: Duration = Duration::from_secs(2);

fn is_no_lease<T: std::fmt::Debug>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::NoLease(_)))
}

/// A lease lives while it is renewed; then its keys go in one transaction.
pub async fn a_lease_ends_unless_it_is_renewed(store: &Arc<dyn Store>) {
    let lease = store.grant(TTL).await.expect("grants");
    let txn = Txn::default().put_leased("c/lease/a", "1", lease).put_leased("c/lease/b", "1", lease);
    let from = store.commit(txn.put("c/lease/free", "1")).await.expect("commits");
    let mut watch = store.watch("c/lease/", from).await.expect("watches");
    for _ in 0..4 {
        time::sleep(TTL * 3 / 4).await;
        let renewed = store.keep_alive(&[lease, LeaseId(u64::MAX)]).await.expect("renews");
        assert_eq!(renewed[0].as_ref().ok(), Some(&TTL));
        assert!(is_no_lease(&renewed[1]), "{renewed:?}");
        assert!(store.time_left(lease).await.expect("lives") <= TTL);
    }
    assert!(store.get("c/lease/a").await.expect("reads").is_some());
    let (a, b) = (next(&mut watch).await, next(&mut watch).await);
    assert_eq!((key(&a).as_str(), key(&b).as_str()), ("c/lease/a", "c/lease/b"));
    assert_eq!(a.revision, b.revision, "one transaction");
    assert!(matches!(a.change, Change::Delete { .. }));
    assert!(store.get("c/lease/a").await.expect("reads").is_none());
    assert!(store.get("c/lease/free").await.expect("reads").is_some());

    let renewed = store.keep_alive(&[lease]).await.expect("answers");
    assert!(is_no_lease(&renewed[0]), "an expired lease is never revived");
    assert!(is_no_lease(&store.time_left(lease).await));
    let late = store.commit(Txn::default().put_leased("c/lease/late", "1", lease)).await;
    assert!(is_no_lease(&late), "{late:?}");
}

/// A revoked lease is gone at once, with its keys.
pub async fn a_revoked_lease_is_final(store: &Arc<dyn Store>) {
    let lease = store.grant(TTL).await.expect("grants");
    store.commit(Txn::default().put_leased("c/revoked", "1", lease)).await.expect("commits");
    let before = store.revision().await.expect("counts");
    assert!(store.revoke(lease).await.expect("revokes"));
    assert!(store.get("c/revoked").await.expect("reads").is_none());
    let renewed = store.keep_alive(&[lease]).await.expect("answers");
    assert!(is_no_lease(&renewed[0]));
    assert!(!store.revoke(lease).await.expect("answers"), "there is no such lease any more");
    assert!(!store.revoke(LeaseId(u64::MAX)).await.expect("answers"));
    time::sleep(TTL * 2).await;
    assert_eq!(store.revision().await.expect("counts"), before + 1, "the keys are deleted once");
}

/// A key put anew belongs to what it was put with last.
pub async fn keys_put_anew_leave_their_lease(store: &Arc<dyn Store>) {
    let (old, new) = (store.grant(TTL).await.expect("grants"), store.grant(TTL).await.expect("grants"));
    let txn = Txn::default().put_leased("c/moved/free", "1", old).put_leased("c/moved/new", "1", old);
    store.commit(txn.put_leased("c/moved/again", "1", old)).await.expect("commits");
    let txn = Txn::default().put("c/moved/free", "2").put_leased("c/moved/new", "2", new);
    store.commit(txn.delete("c/moved/again")).await.expect("commits");
    store.commit(Txn::default().put("c/moved/again", "2")).await.expect("commits");
    assert!(store.revoke(old).await.expect("revokes"));
    let page = store.range("c/moved/", None, 10).await.expect("reads");
    let left = page.entries.iter().map(|entry| (&*entry.key, entry.lease)).collect::<Vec<_>>();
    assert_eq!(left, [("c/moved/again", None), ("c/moved/free", None), ("c/moved/new", Some(new))]);
    assert!(store.revoke(new).await.expect("revokes"));
    assert_eq!(store.range("c/moved/", None, 10).await.expect("reads").entries.len(), 2);
}

/// A lease that is granted with a commit is there if the commit is.
pub async fn a_commit_with_a_lease_is_one_step(store: &Arc<dyn Store>) {
    let other = store.grant(TTL).await.expect("grants");
    let txn = Txn::default().put("c/leased/a", "1").put_leased("c/leased/b", "1", other);
    let (revision, lease) = store.commit_leased(txn, TTL).await.expect("commits");
    let entry = store.get("c/leased/a").await.expect("reads").expect("is there");
    assert_eq!((entry.lease, entry.modified), (Some(lease), revision));
    let entry = store.get("c/leased/b").await.expect("reads").expect("is there");
    assert_eq!(entry.lease, Some(other));

    let txn = Txn::default().when("c/leased/a", Expect::Missing).put("c/leased/a", "2");
    let refused = store.commit_leased(txn, TTL).await;
    assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
    assert!(is_no_lease(&store.time_left(LeaseId(lease.0 + 1)).await), "nothing is granted");
    assert!(store.revoke(lease).await.expect("revokes"));
    assert!(store.revoke(other).await.expect("revokes"));
    assert!(store.range("c/leased/", None, 1).await.expect("reads").entries.is_empty());
}

/// A key put to last is bound to no lease, not even to that of its transaction.
pub async fn a_lasting_key_outlives_the_lease_granted_with_it(store: &Arc<dyn Store>) {
    let txn = Txn::default().put("c/lasting/leased", "1").put_lasting("c/lasting/key", "1");
    let (_, lease) = store.commit_leased(txn, TTL).await.expect("commits");
    let entry = store.get("c/lasting/key").await.expect("reads").expect("is there");
    assert_eq!((entry.value.as_ref(), entry.lease), (b"1".as_ref(), None));
    assert!(store.revoke(lease).await.expect("revokes"));
    let page = store.range("c/lasting/", None, 10).await.expect("reads");
    assert_eq!(page.entries.iter().map(|entry| &*entry.key).collect::<Vec<_>>(), ["c/lasting/key"]);
    let lease = store.grant(TTL).await.expect("grants");
    store.commit(Txn::default().put_leased("c/lasting/key", "2", lease)).await.expect("commits");
    store.commit(Txn::default().put_lasting("c/lasting/key", "3")).await.expect("commits");
    assert!(store.revoke(lease).await.expect("revokes"));
    assert!(store.get("c/lasting/key").await.expect("reads").is_some(), "putting anew leaves the lease");
}

/// A lease tells its keys, of which it has none at its end.
pub async fn a_lease_tells_its_keys(store: &Arc<dyn Store>) {
    let lease = store.grant(TTL).await.expect("grants");
    assert!(store.lease_keys(lease).await.expect("reads").is_empty());
    let txn = Txn::default().put_leased("c/told/b", "1", lease).put_leased("c/told/a", "1", lease);
    store.commit(txn.put("c/told/free", "1")).await.expect("commits");
    let keys = store.lease_keys(lease).await.expect("reads");
    assert_eq!(keys.iter().map(|key| &**key).collect::<Vec<_>>(), ["c/told/a", "c/told/b"]);
    store.commit(Txn::default().put("c/told/a", "2")).await.expect("commits");
    assert_eq!(store.lease_keys(lease).await.expect("reads").len(), 1);
    assert!(store.revoke(lease).await.expect("revokes"));
    assert!(store.lease_keys(lease).await.expect("reads").is_empty());
    assert!(store.lease_keys(LeaseId(u64::MAX)).await.expect("reads").is_empty());
}
