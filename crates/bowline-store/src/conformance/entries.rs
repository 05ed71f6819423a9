//! Keys, revisions, comparisons, limits and ranges.

use std::{sync::Arc, time::Duration};

use bowline_runtime::task::JoinSet;
use bytes::Bytes;

use crate::{Error, Expect, KEY_BYTES_MAX, Store, TXN_OPS_MAX, Txn, VALUE_BYTES_MAX};

/// What is put is read until it is deleted.
pub async fn entries_are_put_read_and_deleted(store: &Arc<dyn Store>) {
    let first = store.commit(Txn::default().put("c/entry", "1")).await.expect("commits");
    let second = store.commit(Txn::default().put("c/entry", "2")).await.expect("commits");
    let entry = store.get("c/entry").await.expect("reads").expect("is there");
    assert_eq!((&*entry.key, entry.value.as_ref()), ("c/entry", b"2".as_ref()));
    assert_eq!((entry.created, entry.modified, entry.lease), (first, second, None));
    store.commit(Txn::default().delete("c/entry")).await.expect("commits");
    assert!(store.get("c/entry").await.expect("reads").is_none());
    let again = store.commit(Txn::default().put("c/entry", "")).await.expect("commits");
    let entry = store.get("c/entry").await.expect("reads").expect("is there");
    assert_eq!((entry.created, entry.value.len()), (again, 0));
}

/// A transaction has one revision for all it changes, and none if it changes nothing.
pub async fn revisions_count_changes(store: &Arc<dyn Store>) {
    let txn = Txn::default().put("c/revision/a", "1").put("c/revision/b", "1");
    let first = store.commit(txn).await.expect("commits");
    let page = store.range("c/revision/", None, 10).await.expect("reads");
    assert!(page.entries.iter().all(|entry| entry.modified == first));
    assert!(page.revision >= first);
    let same = store.commit(Txn::default().delete("c/revision/missing")).await.expect("commits");
    assert_eq!(same, first, "deleting what is missing changes nothing");
    let same = store.commit(Txn::default().when("c/revision/a", Expect::Exists)).await.expect("commits");
    assert_eq!(same, first, "comparing changes nothing");
    let second = store.commit(Txn::default().put("c/revision/a", "1")).await.expect("commits");
    assert_eq!(second, first + 1, "putting the same is a change");
}

/// All comparisons hold, or nothing is changed and the first that fails is named.
pub async fn a_failing_comparison_touches_nothing(store: &Arc<dyn Store>) {
    let revision = store.commit(Txn::default().put("c/compare/a", "1")).await.expect("commits");
    let change = || Txn::default().put("c/compare/b", "1").delete("c/compare/a");
    let refused = [
        (change().when("c/compare/a", Expect::Missing), "c/compare/a", Some(revision)),
        (change().when("c/compare/a", Expect::Modified(revision - 1)), "c/compare/a", Some(revision)),
        (change().when("c/compare/b", Expect::Exists), "c/compare/b", None),
        (change().when("c/compare/b", Expect::Modified(revision)), "c/compare/b", None),
        (change().when("c/compare/a", Expect::Exists).when("c/compare/b", Expect::Exists), "c/compare/b", None),
    ];
    for (txn, failing, expected) in refused {
        let error = store.commit(txn.clone()).await.expect_err("the comparison fails");
        let Error::Conflict { key, current } = error else { panic!("{txn:?}: {error}") };
        assert_eq!((&*key, current), (failing, expected), "{txn:?}");
    }
    assert_eq!(store.revision().await.expect("counts"), revision);
    assert!(store.get("c/compare/b").await.expect("reads").is_none());
    let txn = change().when("c/compare/a", Expect::Modified(revision)).when("c/compare/b", Expect::Missing);
    assert_eq!(store.commit(txn).await.expect("commits"), revision + 1);
}

/// What exceeds a limit is refused, what reaches it is not.
pub async fn limits_are_refused(store: &Arc<dyn Store>) {
    let long = format!("c/{}", "k".repeat(KEY_BYTES_MAX - 2));
    let large = Bytes::from(vec![7; VALUE_BYTES_MAX]);
    store.commit(Txn::default().put(&*long, large.clone())).await.expect("the limits can be reached");
    assert_eq!(store.get(&long).await.expect("reads").expect("is there").value, large);
    let many = |count: usize| (0..count).fold(Txn::default(), |txn, i| txn.put(format!("c/many/{i}"), "1"));
    store.commit(many(TXN_OPS_MAX)).await.expect("the limits can be reached");
    store.commit(Txn::default().delete(&*long)).await.expect("commits");

    let revision = store.revision().await.expect("counts");
    let refused = [
        Txn::default().put("", "1"),
        Txn::default().put(format!("{long}k"), "1"),
        Txn::default().put("c/\0", "1"),
        Txn::default().delete(""),
        Txn::default().when("", Expect::Missing),
        Txn::default().put("c/large", vec![7; VALUE_BYTES_MAX + 1]),
        Txn::default().put("c/twice", "1").delete("c/twice"),
        many(TXN_OPS_MAX + 1),
        (0..9).fold(Txn::default(), |txn, i| txn.put(format!("c/heavy/{i}"), large.clone())),
    ];
    for txn in refused {
        let error = store.commit(txn).await.expect_err("a limit is exceeded");
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
    }
    for ttl in [Duration::ZERO, Duration::from_hours(25)] {
        let error = store.grant(ttl).await.expect_err("a limit is exceeded");
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
    }
    assert_eq!(store.revision().await.expect("counts"), revision);
}

/// Pages are sorted, do not overlap, and keep to their prefix.
pub async fn ranges_are_paged_in_order(store: &Arc<dyn Store>) {
    let keys = (0..25).map(|i| format!("c/range/{i:02}")).collect::<Vec<_>>();
    let txn = keys.iter().rev().fold(Txn::default(), |txn, key| txn.put(key.clone(), "1"));
    store.commit(txn.put("c/range", "1").put("c/range0", "1").put("c/rangé/", "1")).await.expect("commits");
    let mut found = Vec::<String>::new();
    loop {
        let page = store.range("c/range/", found.last().map(String::as_str), 10).await.expect("reads");
        assert!(page.entries.len() <= 10);
        found.extend(page.entries.iter().map(|entry| entry.key.as_ref().to_owned()));
        assert_eq!(page.more, found.len() < keys.len());
        if !page.more {
            break;
        }
    }
    assert_eq!(found, keys);
    let all = store.range("c/rang", Some("c/range/24"), 10).await.expect("reads");
    assert_eq!(all.entries.iter().map(|entry| &*entry.key).collect::<Vec<_>>(), ["c/range0", "c/rangé/"]);
    let before = store.range("c/range/", Some("a"), 1).await.expect("reads");
    assert_eq!(&*before.entries[0].key, "c/range/00");
}

/// Many who read, compare and put count as one after the other would.
pub async fn concurrent_comparisons_lose_no_update(store: &Arc<dyn Store>) {
    const TASKS: u64 = 8;
    const ROUNDS: u64 = 10;
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            for _ in 0..ROUNDS {
                increment(&store).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no task fails");
    }
    let entry = store.get("c/count").await.expect("reads").expect("is there");
    assert_eq!(entry.value.as_ref(), (TASKS * ROUNDS).to_string().as_bytes());
}

async fn increment(store: &Arc<dyn Store>) {
    loop {
        let entry = store.get("c/count").await.expect("reads");
        let (count, expect) = match &entry {
            None => (0, Expect::Missing),
            Some(entry) => {
                let text = std::str::from_utf8(&entry.value).expect("is a number");
                (text.parse::<u64>().expect("is a number"), Expect::Modified(entry.modified))
            }
        };
        match store.commit(Txn::default().when("c/count", expect).put("c/count", (count + 1).to_string())).await {
            Ok(_) => return,
            Err(Error::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
