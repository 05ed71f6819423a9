//! The suite that every provider of the port passes.
//!
//! A provider's test calls [`all`] with a store and with a way to open it again, as a restart
//! does. The suite leaves other keys alone, so it can run on a server in use. Times are waited for
//! through [`bowline_runtime::time`], so a test may pause the clock; it panics where the port's
//! promise is broken.

mod entries;
mod leases;
mod watches;

use std::{sync::Arc, time::Duration};

use bowline_runtime::{BoxFuture, time};

use crate::{Error, Store, Txn, Watch, WatchEvent};

pub use entries::{
    a_failing_comparison_touches_nothing, concurrent_comparisons_lose_no_update, entries_are_put_read_and_deleted,
    limits_are_refused, ranges_are_paged_in_order, revisions_count_changes,
};
pub use leases::{
    a_commit_with_a_lease_is_one_step, a_lasting_key_outlives_the_lease_granted_with_it,
    a_lease_ends_unless_it_is_renewed, a_lease_tells_its_keys, a_revoked_lease_is_final,
    keys_put_anew_leave_their_lease,
};
pub use watches::{
    a_watch_ends_at_what_is_not_there, a_watch_misses_nothing_under_load, a_watch_sees_history_then_what_comes,
    an_abandoned_wait_loses_nothing, progress_follows_what_was_told,
};

/// Opens a store again after everything of the first was dropped.
pub type Reopen = Box<dyn FnMut(Arc<dyn Store>) -> BoxFuture<'static, Arc<dyn Store>> + Send>;

/// The longest that an event is waited for.
const PATIENCE: Duration = Duration::from_mins(2);

/// Everything, one after the other.
pub async fn all(store: Arc<dyn Store>, reopen: Reopen) {
    let shared = &store;
    entries_are_put_read_and_deleted(shared).await;
    revisions_count_changes(shared).await;
    a_failing_comparison_touches_nothing(shared).await;
    limits_are_refused(shared).await;
    ranges_are_paged_in_order(shared).await;
    concurrent_comparisons_lose_no_update(shared).await;
    a_watch_sees_history_then_what_comes(shared).await;
    a_watch_ends_at_what_is_not_there(shared).await;
    an_abandoned_wait_loses_nothing(shared).await;
    progress_follows_what_was_told(shared).await;
    a_watch_misses_nothing_under_load(shared).await;
    a_lease_ends_unless_it_is_renewed(shared).await;
    a_revoked_lease_is_final(shared).await;
    keys_put_anew_leave_their_lease(shared).await;
    a_commit_with_a_lease_is_one_step(shared).await;
    a_lasting_key_outlives_the_lease_granted_with_it(shared).await;
    a_lease_tells_its_keys(shared).await;
    a_restart_keeps_all_of_it(store, reopen).await;
}

/// What was answered is there after a restart, and leases have their full lifetime again.
pub async fn a_restart_keeps_all_of_it(store: Arc<dyn Store>, mut reopen: Reopen) {
    let ttl = Duration::from_secs(4);
    let from = store.commit(Txn::default().put("c/restart/a", "1")).await.expect("commits");
    let (_, lease) =
        store.commit_leased(Txn::default().put("c/restart/leased", "1"), ttl).await.expect("commits with a lease");
    let last = store.commit(Txn::default().put("c/restart/b", "2").delete("c/restart/a")).await.expect("commits");
    let history = store.history().await.expect("names its history");
    time::sleep(Duration::from_secs(3)).await;

    let store = reopen(store).await;
    assert_eq!(store.history().await.expect("names its history"), history);
    assert!(store.revision().await.expect("counts") >= last);
    let entry = store.get("c/restart/b").await.expect("reads").expect("is there");
    assert_eq!((entry.value.as_ref(), entry.modified), (b"2".as_ref(), last));
    assert!(store.get("c/restart/a").await.expect("reads").is_none());

    let mut watch = store.watch("c/restart/", from).await.expect("resumes");
    let keys = [next(&mut watch).await, next(&mut watch).await, next(&mut watch).await].map(|event| key(&event));
    assert_eq!(keys, ["c/restart/leased", "c/restart/b", "c/restart/a"]);

    // One second was left of the lease before the restart.
    time::sleep(Duration::from_secs(2)).await;
    assert!(store.get("c/restart/leased").await.expect("reads").is_some());
    let gone = next(&mut watch).await;
    assert_eq!(key(&gone), "c/restart/leased");
    assert!(matches!(store.time_left(lease).await, Err(Error::NoLease(_))));
    let again = store.grant(ttl).await.expect("grants");
    assert!(again > lease, "a lease's name is never used again");
    store.revoke(again).await.expect("revokes");
}

async fn next(watch: &mut Watch) -> WatchEvent {
    let event = time::timeout(PATIENCE, watch.next()).await;
    event.expect("an event comes").expect("the watch goes on")
}

fn key(event: &WatchEvent) -> String {
    event.change.key().as_ref().to_owned()
}
