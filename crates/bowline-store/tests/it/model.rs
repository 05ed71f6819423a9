//! Random transactions against a map: every answer, every event and every restart agrees with it.

use std::{collections::BTreeMap, path::Path, time::Duration};

use bowline_runtime::rand;
use bowline_store::{Change, Embedded, Entry, Error, Expect, LeaseId, Op, Revision, Store, Txn};

use crate::open;

/// What the store should be.
#[derive(Default)]
struct Model {
    entries: BTreeMap<String, Entry>,
    revision: Revision,
}

impl Model {
    fn commit(&mut self, txn: &Txn) -> Result<Revision, (String, Option<Revision>)> {
        for compare in &txn.compares {
            let current = self.entries.get(&compare.key).map(|entry| entry.modified);
            let holds = match compare.expect {
                Expect::Missing => current.is_none(),
                Expect::Exists => current.is_some(),
                Expect::Modified(revision) => current == Some(revision),
            };
            if !holds {
                return Err((compare.key.clone(), current));
            }
        }
        let revision = self.revision + 1;
        for op in &txn.ops {
            match op {
                Op::Put { .. } | Op::PutLasting { .. } => {
                    let (key, value) = (op.key(), op.value().unwrap());
                    let lease = if let Op::Put { lease, .. } = op { *lease } else { None };
                    let created = self.entries.get(key).map_or(revision, |entry| entry.created);
                    let entry = Entry { key: key.into(), value: value.clone(), created, modified: revision, lease };
                    self.entries.insert(key.to_owned(), entry);
                    self.revision = revision;
                }
                Op::Delete { key } => {
                    if self.entries.remove(key).is_some() {
                        self.revision = revision;
                    }
                }
            }
        }
        Ok(self.revision)
    }

    fn end(&mut self, lease: LeaseId) {
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.lease != Some(lease));
        self.revision += u64::from(self.entries.len() < before);
    }
}

fn random_txn(leases: &[LeaseId], revision: Revision) -> Txn {
    let key = || format!("k{}", rand::below(8));
    let mut txn = Txn::default();
    for _ in 0..rand::below(3).saturating_sub(1) {
        let expect = match rand::below(3) {
            0 => Expect::Missing,
            1 => Expect::Exists,
            _ => Expect::Modified(revision.saturating_sub(rand::below(4) as u64)),
        };
        txn = txn.when(key(), expect);
    }
    for _ in 0..rand::below(4) {
        let key = key();
        if txn.ops.iter().any(|op| op.key() == key) {
            continue;
        }
        let lease = leases.get(rand::below(leases.len() * 2)).copied();
        let value = rand::u64().to_string();
        txn = match rand::below(6) {
            0 | 1 => txn.delete(key),
            2 => txn.put_lasting(key, value),
            _ => txn.put_leased(key, value, lease),
        };
    }
    txn
}

async fn run(seed: u64, path: &Path) {
    rand::seed(seed);
    let mut store = open(path).await;
    let mut model = Model::default();
    let mut leases = Vec::new();
    for _ in 0..200 {
        match rand::below(20) {
            0 => {
                store.close().await;
                store = open(path).await;
            }
            1 => leases.push(store.grant(Duration::from_hours(1)).await.unwrap()),
            2 if !leases.is_empty() => {
                let lease = leases.swap_remove(rand::below(leases.len()));
                assert!(store.revoke(lease).await.unwrap());
                model.end(lease);
            }
            _ => {
                let txn = random_txn(&leases, model.revision);
                match (store.commit(txn.clone()).await, model.commit(&txn)) {
                    (Ok(revision), Ok(expected)) => assert_eq!(revision, expected),
                    (Err(Error::Conflict { key, current }), Err(expected)) => assert_eq!((key, current), expected),
                    (actual, expected) => panic!("{actual:?}, not {expected:?}"),
                }
            }
        }
        check(&store, &model).await;
    }
    check_history(&store, &model).await;
}

async fn check(store: &Embedded, model: &Model) {
    let page = store.range("", None, 100).await.unwrap();
    assert_eq!(page.revision, model.revision);
    assert!(page.entries.iter().eq(model.entries.values()), "{:?}", page.entries);
}

/// The events from the beginning lead to what is there.
async fn check_history(store: &Embedded, model: &Model) {
    let mut watch = store.watch("", 0).await.unwrap();
    let mut replayed = BTreeMap::new();
    let mut last = 0;
    while last < model.revision || replayed != model.entries {
        let event = watch.next().await.unwrap();
        assert!(event.revision == last || event.revision == last + 1, "no gap after {last}");
        last = event.revision;
        match event.change {
            Change::Put(entry) => drop(replayed.insert(entry.key.as_ref().to_owned(), entry)),
            Change::Delete { key, previous } => assert_eq!(replayed.remove(key.as_ref()), Some(previous)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn it_does_what_a_map_would() {
    let seeds =
        std::env::var("SEED").map_or_else(|_| (0..15).map(|_| rand::u64()).collect(), |s| vec![s.parse().unwrap()]);
    for seed in seeds {
        println!("SEED={seed}");
        let dir = tempfile::tempdir().unwrap();
        run(seed, &dir.path().join("store")).await;
    }
}
