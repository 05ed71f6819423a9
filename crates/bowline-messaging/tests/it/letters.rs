//! Dead letters of the embedded provider: durable before they are answered, many in one sync, pages of bounded bytes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bowline_disk::{Disk, Operation};
use bowline_messaging::{
    Error, GroupSettings, HEADERS_MAX, MessageBus as _, NewMessage, PAGE_BYTES_MAX, Then, TopicSettings, Which,
};
use bowline_runtime::task;

use crate::{message, open, open_on, publish_all, text};

#[tokio::test(start_paused = true)]
async fn the_last_nack_is_answered_when_its_letter_is_durable() {
    let is_bad = Arc::new(AtomicBool::new(false));
    let shared = is_bad.clone();
    let disk = Disk::faulty(move |operation| match operation {
        Operation::Sync { .. } if shared.load(Ordering::SeqCst) => Err(std::io::Error::other("bad disk")),
        _ => Ok(()),
    });
    let dir = tempfile::tempdir().unwrap();
    let bus = open_on(disk, dir.path()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 1).await.unwrap();
    bus.publish("t", text("x")).await.unwrap();
    let delivery = group.next().await.unwrap();
    is_bad.store(true, Ordering::SeqCst);
    let answer = delivery.nack("no use", Then::Dead).await;
    assert!(matches!(answer, Err(Error::Io(_))), "{answer:?}");
    is_bad.store(false, Ordering::SeqCst);
    let delivery = group.next().await.unwrap();
    delivery.nack("no use", Then::Dead).await.unwrap();
    assert_eq!(bus.dead("t", 0, 10).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn many_are_buried_in_one_sync() {
    const COUNT: usize = 300;
    let syncs = Arc::new(AtomicUsize::new(0));
    let shared = syncs.clone();
    let disk = Disk::faulty(move |operation| {
        shared.fetch_add(usize::from(matches!(operation, Operation::Sync { .. })), Ordering::SeqCst);
        Ok(())
    });
    let dir = tempfile::tempdir().unwrap();
    let bus = open_on(disk, dir.path()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), COUNT).await.unwrap();
    publish_all(&bus, (0..COUNT).map(|_| text("x"))).await;
    let before = syncs.load(Ordering::SeqCst);
    let mut tasks = task::JoinSet::new();
    for _ in 0..COUNT {
        let delivery = group.next().await.unwrap();
        tasks.spawn(async move { delivery.nack("no use", Then::Dead).await });
    }
    while let Some(answer) = tasks.join_next().await {
        answer.unwrap().unwrap();
    }
    assert_eq!(bus.dead("t", 0, 1000).await.unwrap().len(), COUNT);
    let syncs = syncs.load(Ordering::SeqCst) - before;
    assert!(syncs < COUNT / 4, "{syncs} syncs");
}

#[tokio::test(start_paused = true)]
async fn a_page_of_dead_letters_is_bounded_by_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 1).await.unwrap();
    for _ in 0..12 {
        bus.publish("t", message(1 << 20)).await.unwrap();
        group.next().await.unwrap().nack("no use", Then::Dead).await.unwrap();
    }
    let (mut after, mut pages) = (0, Vec::new());
    while after < 12 {
        let page = bus.dead("t", after, 100).await.unwrap();
        assert!(page.iter().map(|letter| letter.message.payload.len()).sum::<usize>() <= PAGE_BYTES_MAX);
        after = page.last().unwrap().position;
        pages.push(page.len());
    }
    assert_eq!(pages, [7, 5]);
    assert_eq!(bus.redrive("t", Which::All).await.unwrap(), 12);
}

#[tokio::test(start_paused = true)]
async fn what_is_redriven_has_no_more_headers_than_a_message_may_have() {
    let dir = tempfile::tempdir().unwrap();
    let bus = open(dir.path()).await;
    bus.declare("t", TopicSettings::default()).await.unwrap();
    let mut group = bus.subscribe("t", "g", GroupSettings::default(), 1).await.unwrap();
    for count in [HEADERS_MAX, 1] {
        let headers = vec![("a".to_owned(), "b".to_owned()); count];
        bus.publish("t", NewMessage { headers, ..text("x") }).await.unwrap();
        group.next().await.unwrap().nack("no use", Then::Dead).await.unwrap();
        bus.redrive("t", Which::All).await.unwrap();
        let again = group.next().await.unwrap();
        assert_eq!(again.message.headers.len(), HEADERS_MAX.min(count + 1));
        again.ack().await.unwrap();
    }
}
