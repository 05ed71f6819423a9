//! Readiness over a store that lost its disk.

use std::{sync::Arc, time::Duration};

use bowline_runtime::{BoxFuture, metric};
use bowline_store::{Embedded, Entry, Error, HistoryId, LeaseId, Page, Revision, Store, Txn, Watch};

use super::*;
use crate::{Node, Settings};

/// A store that can be read only.
struct ReadOnly(Embedded);

impl Store for ReadOnly {
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Entry>, Error>> {
        self.0.get(key)
    }

    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> BoxFuture<'_, Result<Page, Error>> {
        self.0.range(prefix, after, limit)
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, Error>> {
        self.0.commit(txn)
    }

    fn commit_leased(&self, txn: Txn, ttl: Duration) -> BoxFuture<'_, Result<(Revision, LeaseId), Error>> {
        self.0.commit_leased(txn, ttl)
    }

    fn watch(&self, prefix: &str, from: Revision) -> BoxFuture<'_, Result<Watch, Error>> {
        self.0.watch(prefix, from)
    }

    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, Error>> {
        self.0.grant(ttl)
    }

    fn keep_alive(&self, leases: &[LeaseId]) -> BoxFuture<'_, Result<Vec<Result<Duration, Error>>, Error>> {
        self.0.keep_alive(leases)
    }

    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<bool, Error>> {
        self.0.revoke(lease)
    }

    fn lease_keys(&self, lease: LeaseId) -> BoxFuture<'_, Result<Vec<Arc<str>>, Error>> {
        self.0.lease_keys(lease)
    }

    fn time_left(&self, lease: LeaseId) -> BoxFuture<'_, Result<Duration, Error>> {
        self.0.time_left(lease)
    }

    fn history(&self) -> BoxFuture<'_, Result<HistoryId, Error>> {
        self.0.history()
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision, Error>> {
        self.0.revision()
    }

    fn is_writable(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_not_ready() {
    let dir = bowline_testkit::temp_dir();
    let settings = Settings { traces_bytes_max: 16 << 20, grace: Duration::ZERO, ..Settings::new(dir.path()) };
    let node = Node::start(settings, metric::Registry::default()).await.unwrap();
    let other = bowline_store::Settings::new(dir.path().join("other.redb"));
    let store = Embedded::open(other, &metric::Registry::default()).await.unwrap();
    assert_eq!(ready(&store, &*node.registry()).await.unwrap(), "ok\n");
    let refused = ready(&ReadOnly(store), &*node.registry()).await.unwrap_err();
    let (code, detail) = refused.into_parts();
    assert_eq!(code, Code::Unavailable);
    assert!(detail.contains("cannot be written") && detail.contains("restart"), "{detail}");
}
