//! The embedded provider: the port's suite, bounds, what waits, damage, faults of the disk, and crashes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod conformance;
mod crash;
mod damage;
mod faults;
mod letters;
mod waiting;

use std::path::Path;

use bowline_disk::Disk;
use bowline_messaging::{Embedded, Error, MessageBus as _, NewMessage, Published, Settings};
use bowline_runtime::{metric, task};

async fn open(dir: &Path) -> Embedded {
    open_on(Disk::default(), dir).await
}

async fn open_on(disk: Disk, dir: &Path) -> Embedded {
    let settings = Settings { disk, ..Settings::new(dir, metric::Registry::default()) };
    Embedded::open(settings).await.unwrap()
}

fn message(bytes: usize) -> NewMessage {
    NewMessage { payload: vec![7; bytes].into(), ..NewMessage::default() }
}

fn text(text: &str) -> NewMessage {
    NewMessage { payload: text.to_owned().into(), ..NewMessage::default() }
}

/// Publishes all at once, in order, and answers what was answered.
async fn publish_all(bus: &Embedded, messages: impl IntoIterator<Item = NewMessage>) -> Vec<Result<Published, Error>> {
    let mut tasks = Vec::new();
    for message in messages {
        let bus = bus.clone();
        tasks.push(task::spawn(async move { bus.publish("t", message).await }));
    }
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}
