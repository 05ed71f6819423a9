//! What is kept has bounds: versions by number and size, documents by number, and the store's own.

use bowline_config::{Document, Draft, Error, Format, HISTORY_BYTES_MAX, KEYS_MAX, Origin, VERSIONS_MAX};
use bowline_model::Code;
use bowline_store::{Store as _, Txn};

use crate::support::{Fixture, draft, key};

#[tokio::test(start_paused = true)]
async fn large_versions_leave_earlier() {
    let fixture = Fixture::new().await;
    let key = key("shop/large");
    let text = format!("a = \"{}\"", "x".repeat(200 << 10));
    for _ in 0..30 {
        fixture.publish(&key, &text).await;
    }
    let history = fixture.config.history(&key, None, 100).await.unwrap();
    assert_eq!((history[0].number, history.len()), (30, HISTORY_BYTES_MAX / (201 << 10)));
    let kept = fixture.store.range("config/version/", None, 100).await.unwrap().entries;
    assert!(kept.iter().map(|entry| entry.value.len()).sum::<usize>() <= HISTORY_BYTES_MAX);
}

#[tokio::test(start_paused = true)]
async fn the_last_version_of_a_file_is_kept_however_old_it_is() {
    let fixture = Fixture::new().await;
    let key = key("shop/order");
    for number in 1..=3 {
        let of_file = Draft { origin: Origin::File, ..draft(&format!("a = {number}")) };
        fixture.config.set_config(&key, of_file).await.unwrap();
    }
    for number in 0..VERSIONS_MAX + 2 {
        fixture.publish(&key, &format!("a = {number}")).await;
    }
    // It is one of those that are kept, not one more: whoever asks for that many is told of it.
    let history = fixture.config.history(&key, None, VERSIONS_MAX).await.unwrap();
    let oldest = history.iter().rev().take(2).map(|version| (version.number, version.origin)).collect::<Vec<_>>();
    assert_eq!(oldest, [(3, Origin::File), (7, Origin::Api)]);
    assert_eq!(fixture.config.history(&key, None, 1000).await.unwrap(), history);
    // The next one takes its place.
    let of_file = Draft { origin: Origin::File, ..draft("a = 0") };
    let last = fixture.config.set_config(&key, of_file).await.unwrap();
    let history = fixture.config.history(&key, None, 1000).await.unwrap();
    let of_file = history.iter().filter(|version| version.origin == Origin::File).collect::<Vec<_>>();
    assert_eq!(of_file, [&last.summary()]);
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_room_the_longest_deleted_is_forgotten() {
    let fixture = Fixture::new().await;
    let (first, second) = (key("shop/gone-1"), key("shop/gone-2"));
    for gone in [&first, &second] {
        fixture.publish(gone, "a = 1").await;
        fixture.publish(gone, "a = 2").await;
    }
    fixture.config.delete_config(&second, None).await.unwrap();
    fixture.config.delete_config(&first, None).await.unwrap();
    fill(&fixture, KEYS_MAX - 2).await;
    assert_eq!(fixture.publish(&key("shop/new"), "a = 1").await.number, 1);
    assert_eq!(fixture.config.history(&second, None, 10).await.unwrap(), []);
    assert_eq!(fixture.config.history(&first, None, 10).await.unwrap().len(), 2);
    // What is there can be changed, but nothing more can come once nothing deleted is left.
    assert_eq!(fixture.config.check_config(&key("shop/new-2"), draft("a = 1")).await.unwrap(), 1);
    assert_eq!(fixture.config.history(&first, None, 10).await.unwrap().len(), 2, "nothing made room yet");
    fixture.publish(&key("shop/new-2"), "a = 1").await;
    fixture.publish(&key("shop/new"), "a = 2").await;
    let error = fixture.config.check_config(&key("shop/new-3"), draft("a = 1")).await.unwrap_err();
    assert!(matches!(error, Error::Full { what: "documents" }), "{error:?}");
    let error = fixture.config.set_config(&key("shop/new-3"), draft("a = 1")).await.unwrap_err();
    assert!(matches!(error, Error::Full { what: "documents" }), "{error:?}");
    assert_eq!((error.code(), error.retryable()), (Code::InsufficientStorage, true));
    assert_eq!(fixture.config.list(None).await.unwrap().len(), KEYS_MAX);
}

/// Documents, as they would be kept.
async fn fill(fixture: &Fixture, count: usize) {
    let version = r#"{"number":1,"document":{"format":"toml","text":""},"author":"a","origin":"api","at_unix_ms":1}"#;
    let head = format!(r#"{{"format":1,"value":{{"last":1,"from_file":null,"current":{version}}}}}"#);
    let keys = (0..count).map(|number| format!("config/doc/filler/{number}")).collect::<Vec<_>>();
    for keys in keys.chunks(128) {
        let txn = keys.iter().fold(Txn::default(), |txn, key| txn.put(key, head.clone()));
        fixture.store.commit(txn).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_store_refuses_and_keeps_what_it_has() {
    let fixture = Fixture::with(|settings| settings.data_bytes_max = 8 << 10).await;
    let key = key("shop/order");
    let first = fixture.publish(&key, "a = 1").await;
    let large = draft(&format!("a = \"{}\"", "x".repeat(8 << 10)));
    let error = fixture.config.set_config(&key, large).await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), (Code::InsufficientStorage, true), "{error:?}");
    assert_eq!(fixture.config.get_config(&key).await.unwrap(), Some(first));
    assert_eq!(fixture.publish(&key, "a = 2").await.number, 2, "what fits is taken, and no number is lost");
    assert_eq!(fixture.config.history(&key, None, 10).await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_document_of_nothing_but_escapes_fits() {
    let fixture = Fixture::new().await;
    let key = key("shop/order");
    let document = Document::new(Format::Text, "\\".repeat(256 << 10));
    let version = fixture.config.set_config(&key, Draft { document, ..draft("") }).await.unwrap();
    assert_eq!(fixture.config.get_config(&key).await.unwrap(), Some(version));
}
