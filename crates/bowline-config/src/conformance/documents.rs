//! Documents: published, read, versioned, bounded.

use std::{fmt::Debug, sync::Arc};

use bowline_model::Code;
use bowline_runtime::task::JoinSet;

use super::{Manager, draft, key, next, publish, toml};
use crate::{
    Author, COMMENT_BYTES_MAX, DOCUMENT_BYTES_MAX, Document, Draft, Error, Format, Origin, VERSIONS_MAX, Version,
};

/// What is published is read as it was written, in every format.
pub async fn documents_are_published_and_read(config: &Manager) {
    let key = key("published");
    assert_eq!(config.get_config(&key).await.expect("reads"), None);
    assert_eq!(config.history(&key, None, 10).await.expect("reads"), []);
    let documents = [
        toml("# how many\nitems_max = 5\n"),
        Document::new(Format::Json, "{\"items_max\": 5}\n"),
        Document::new(Format::Text, "five \"items\"\\\r\n\té"),
        toml(""),
    ];
    for (number, document) in (1..).zip(documents) {
        let draft = Draft { comment: format!("the {number}."), ..draft(document.clone()) };
        let published = config.set_config(&key, draft).await.expect("publishes");
        assert_eq!((published.number, &published.document), (number, &document));
        assert_eq!((&*published.comment, published.restores), (&*format!("the {number}."), None));
        assert_eq!((published.author.clone(), published.origin), (Author::anonymous(), Origin::Api));
        assert!(published.at_unix_ms > 0);
        assert_eq!(config.get_config(&key).await.expect("reads"), Some(published.clone()));
        assert_eq!(config.get_version(&key, number).await.expect("reads"), Some(published));
    }
    let first = config.get_version(&key, 1).await.expect("reads").expect("is kept");
    assert_eq!(first.document, toml("# how many\nitems_max = 5\n"));
    for unknown in [0, 5, u64::MAX] {
        assert_eq!(config.get_version(&key, unknown).await.expect("reads"), None, "{unknown}");
    }
}

/// A list names each document once, those of one namespace where it is asked for.
pub async fn documents_are_listed(config: &Manager) {
    for name in ["listed-b", "listed-a", "listed-gone"] {
        publish(config, &key(name), 1).await;
    }
    let second = publish(config, &key("listed-a"), 2).await;
    config.delete_config(&key("listed-gone"), None).await.expect("deletes");
    let listed = config.list(Some("suite")).await.expect("lists");
    let ours = listed.iter().filter(|summary| summary.key.name().starts_with("listed-")).collect::<Vec<_>>();
    assert_eq!(ours.iter().map(|summary| summary.key.name()).collect::<Vec<_>>(), ["listed-a", "listed-b"]);
    assert_eq!(ours[0].version, second.summary());
    assert!(!ours[0].has_schema);
    let all = config.list(None).await.expect("lists");
    assert!(listed.iter().all(|summary| all.contains(summary)));
    for nothing in ["suit", "suite/listed-a", ""] {
        assert_eq!(config.list(Some(nothing)).await.expect("lists"), [], "{nothing}");
    }
}

#[track_caller]
fn conflict<T: Debug>(result: Result<T, Error>) -> (u64, Option<Version>, Option<Version>) {
    match result {
        Err(error @ Error::Conflict { .. }) => {
            assert_eq!((error.code(), error.retryable()), (Code::Conflict, false));
            let Error::Conflict { expected, base, current, .. } = error else { unreachable!("just matched") };
            (expected, base.map(|base| *base), current.map(|current| *current))
        }
        other => panic!("no conflict: {other:?}"),
    }
}

/// Who expects another version than the current one is shown what it based on, and what there is.
pub async fn a_conflict_shows_both_sides(config: &Manager) {
    let key = key("conflict");
    let set = async |expect| {
        let draft = Draft { expect: Some(expect), ..draft(toml(&format!("based_on = {expect}"))) };
        config.set_config(&key, draft).await
    };
    assert_eq!(conflict(set(1).await), (1, None, None), "nothing is there");
    let first = set(0).await.expect("it is new");
    assert_eq!(conflict(set(0).await), (0, None, Some(first.clone())), "it is there already");
    let second = set(1).await.expect("it is the current one");
    assert_eq!(conflict(set(1).await), (1, Some(first), Some(second.clone())));
    assert_eq!(conflict(set(9).await), (9, None, Some(second.clone())));
    let error = config.delete_config(&key, Some(1)).await.expect_err("it is not the current one");
    assert!(matches!(error, Error::Conflict { expected: 1, .. }), "{error:?}");
    assert_eq!(config.get_config(&key).await.expect("reads"), Some(second));
    assert!(config.delete_config(&key, Some(2)).await.expect("deletes"));
    assert_eq!(set(0).await.expect("it is new again").number, 3, "numbers are never used again");
}

/// Of writers that expect the same version one wins, and whoever expects none wins at last.
pub async fn concurrent_writers_have_one_winner_a_version(config: &Manager) {
    const WRITERS: u64 = 8;
    let key = key("concurrent");
    for expect in 0..3 {
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let (config, key) = (Arc::clone(config), key.clone());
            writers.spawn(async move {
                let draft = Draft { expect: Some(expect), ..draft(toml(&format!("writer = {writer}"))) };
                config.set_config(&key, draft).await
            });
        }
        let mut won = Vec::new();
        while let Some(written) = writers.join_next().await {
            match written.expect("no task fails") {
                Ok(version) => won.push(version),
                Err(error) => assert!(matches!(error, Error::Conflict { .. }), "{error:?}"),
            }
        }
        assert_eq!(won.len(), 1, "{won:?}");
        assert_eq!(config.get_config(&key).await.expect("reads"), won.pop());
    }
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (config, key) = (Arc::clone(config), key.clone());
        writers.spawn(async move { publish(&config, &key, writer).await.number });
    }
    let mut numbers = Vec::new();
    while let Some(number) = writers.join_next().await {
        numbers.push(number.expect("no task fails"));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (4..4 + WRITERS).collect::<Vec<_>>());
}

/// Who asks before they publish is told the number, or what a publication would be refused for.
pub async fn a_check_foresees_a_publication_and_changes_nothing(config: &Manager) {
    let key = key("checked");
    let check = async |expect, document| config.check_config(&key, Draft { expect, ..draft(document) }).await;
    assert_eq!(check(Some(0), toml("a = 1")).await.expect("it is new"), 1);
    assert_eq!(config.get_config(&key).await.expect("reads"), None, "it was only asked");
    let first = publish(config, &key, 1).await;
    let mut watch = config.watch_config(&key).await.expect("watches");
    assert_eq!(next(&mut watch).await, Some(first.clone()));
    assert_eq!(check(None, toml("a = 2")).await.expect("is well-formed"), 2);
    assert_eq!(check(Some(1), toml("a = 2")).await.expect("it is the current one"), 2, "no number was used");
    assert_eq!(conflict(check(Some(0), toml("a = 2")).await), (0, None, Some(first.clone())));
    assert_eq!(conflict(check(Some(7), toml("a = 2")).await), (7, None, Some(first.clone())));
    let error = check(None, toml("a = = 2")).await.expect_err("is malformed");
    assert!(matches!(error, Error::Syntax { line: 1, column: 5, .. }), "{error:?}");
    let error = check(None, toml(&"#".repeat(DOCUMENT_BYTES_MAX + 1))).await.expect_err("is too long");
    assert!(matches!(error, Error::Invalid { what: "document", .. }), "{error:?}");
    assert_eq!(config.history(&key, None, 10).await.expect("reads"), [first.summary()]);
    let second = publish(config, &key, 2).await;
    assert_eq!(next(&mut watch).await, Some(second), "nothing came before it");
}

/// A document that does not parse is refused, and the place of the fault is told.
pub async fn malformed_documents_are_refused_with_their_place(config: &Manager) {
    let key = key("malformed");
    for (document, at) in [
        (toml("a = 1\nb = = 2\n"), (2, 5)),
        (Document::new(Format::Json, "{\n  \"a\": 1,\n}"), (3, 1)),
        (Document::new(Format::Json, "{} {}"), (1, 4)),
    ] {
        let error = config.set_config(&key, draft(document.clone())).await.expect_err("is malformed");
        assert_eq!((error.code(), error.retryable()), (Code::Unprocessable, false));
        match error {
            Error::Syntax { format, line, column, reason } => {
                assert_eq!((format, (line, column)), (document.format, at), "{reason}");
                assert!(!reason.is_empty());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(config.get_config(&key).await.expect("reads"), None);
}

/// Sizes are bounded, and the bound is told.
pub async fn bounds_are_refused(config: &Manager) {
    let key = key("bounds");
    let text = |text: String| draft(Document::new(Format::Text, text));
    let published = config.set_config(&key, text("\"\n".repeat(DOCUMENT_BYTES_MAX / 2))).await.expect("just fits");
    assert_eq!(config.get_config(&key).await.expect("reads"), Some(published));
    let long = Draft { comment: "x".repeat(COMMENT_BYTES_MAX + 1), ..text(String::new()) };
    let lines = Draft { comment: "two\nlines".to_owned(), ..text(String::new()) };
    for (bad, part) in [
        (text("x".repeat(DOCUMENT_BYTES_MAX + 1)), "document"),
        (text("\0".to_owned()), "document"),
        (long, "comment"),
        (lines, "comment"),
    ] {
        let error = config.set_config(&key, bad).await.expect_err("breaks a bound");
        assert!(matches!(error, Error::Invalid { what, .. } if what == part), "{error:?}");
    }
}

/// A rollback publishes the old document under a new number, and says which it was.
pub async fn a_rollback_is_a_new_version(config: &Manager) {
    let key = key("rollback");
    let rollback = async |to| config.rollback(&key, to, None, Author::anonymous()).await;
    let error = rollback(1).await.expect_err("nothing is there");
    assert!(matches!(error, Error::NoVersion { number: 1, .. }), "{error:?}");
    assert_eq!(error.code(), Code::NotFound);
    let first = publish(config, &key, 1).await;
    publish(config, &key, 2).await;
    let third = rollback(1).await.expect("rolls back");
    assert_eq!((third.number, third.restores, &third.document), (3, Some(1), &first.document));
    assert_eq!(config.get_config(&key).await.expect("reads"), Some(third.clone()));
    let error = rollback(3).await.expect_err("it is the current one");
    assert!([Code::InvalidArgument, Code::Unprocessable].contains(&error.code()), "{error:?}");
    assert!(matches!(rollback(4).await, Err(Error::NoVersion { .. })));
    let history = config.history(&key, None, 10).await.expect("reads");
    assert_eq!(history.iter().map(|version| version.restores).collect::<Vec<_>>(), [Some(1), None, None]);
    assert_eq!(history[0], third.summary());
    let from = async |expect| config.rollback(&key, 2, Some(expect), Author::anonymous()).await;
    for stale in [0, 2] {
        let error = from(stale).await.expect_err("another version is current");
        let Error::Conflict { expected, current: Some(current), .. } = error else { panic!("{error:?}") };
        assert_eq!((expected, *current), (stale, third.clone()));
    }
    assert_eq!(from(3).await.expect("it is the current one").number, 4);
}

/// A deletion takes the current version only: history and count stay.
pub async fn a_deleted_document_can_be_brought_back(config: &Manager) {
    let key = key("deleted");
    assert!(!config.delete_config(&key, None).await.expect("answers"));
    publish(config, &key, 1).await;
    assert!(config.delete_config(&key, None).await.expect("deletes"));
    assert!(!config.delete_config(&key, None).await.expect("answers"), "it is gone already");
    assert_eq!(config.get_config(&key).await.expect("reads"), None);
    assert_eq!(config.history(&key, None, 10).await.expect("reads").len(), 1);
    let restored = config.rollback(&key, 1, None, Author::anonymous()).await.expect("rolls back");
    assert_eq!((restored.number, restored.restores), (2, Some(1)));
}

/// History is told newest first and in pages, and has an end.
pub async fn history_is_kept_within_bounds(config: &Manager) {
    let key = key("history");
    let total = VERSIONS_MAX as u64 + 5;
    for number in 1..=total {
        publish(config, &key, number).await;
    }
    let numbers = async |before, limit| {
        let history = config.history(&key, before, limit).await.expect("reads");
        history.into_iter().map(|version| version.number).collect::<Vec<_>>()
    };
    assert_eq!(numbers(None, 3).await, [total, total - 1, total - 2]);
    assert_eq!(numbers(Some(total - 2), 2).await, [total - 3, total - 4]);
    assert!(numbers(Some(1), 10).await.is_empty() && numbers(None, 0).await.is_empty());
    assert_eq!(numbers(None, usize::MAX).await.len(), VERSIONS_MAX);
    assert_eq!(numbers(None, VERSIONS_MAX).await, (6..=total).rev().collect::<Vec<_>>());
    assert_eq!(config.get_version(&key, 5).await.expect("reads"), None);
    let error = config.rollback(&key, 5, None, Author::anonymous()).await.expect_err("it is not kept");
    assert!(matches!(error, Error::NoVersion { number: 5, .. }), "{error:?}");
}
