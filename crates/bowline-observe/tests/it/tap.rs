//! Who taps the store sees what it takes, and at the start what it took lately.

use std::sync::{Arc, Mutex};

use bowline_observe::traces::Tap;
use bowline_runtime::time;

use super::*;

#[derive(Debug, Default)]
struct Seen {
    appended: Mutex<Vec<SpanData>>,
    replayed: Mutex<Vec<SpanData>>,
}

impl Tap for Seen {
    fn appended(&self, spans: &[SpanData]) {
        self.appended.lock().unwrap().extend_from_slice(spans);
    }

    fn replayed(&self, spans: &[SpanData]) {
        self.replayed.lock().unwrap().extend_from_slice(spans);
    }
}

#[tokio::test(start_paused = true)]
async fn a_tap_sees_new_spans_and_those_of_the_last_hour() {
    let dir = tempfile::tempdir().unwrap();
    let tapped = || {
        let seen = Arc::new(Seen::default());
        let tap: Arc<dyn Tap> = seen.clone();
        (seen, TraceStore::open(Settings { tap: Some(tap), ..settings(dir.path()) }).unwrap())
    };
    let (seen, store) = tapped();
    store.append(vec![span(1, 1)]);
    store.flush().await.unwrap();
    time::sleep(std::time::Duration::from_mins(30)).await;
    store.append(vec![span(2, 1), span(3, 1)]);
    store.flush().await.unwrap();
    assert_eq!(*seen.appended.lock().unwrap(), [span(1, 1), span(2, 1), span(3, 1)]);
    assert_eq!(*seen.replayed.lock().unwrap(), []);
    store.close().await;
    time::sleep(std::time::Duration::from_secs(1801)).await;
    let (seen, store) = tapped();
    store.append(vec![span(4, 1)]);
    store.flush().await.unwrap();
    while seen.replayed.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    store.close().await;
    assert_eq!(*seen.replayed.lock().unwrap(), [span(2, 1), span(3, 1)]);
    assert_eq!(*seen.appended.lock().unwrap(), [span(4, 1)]);
}
