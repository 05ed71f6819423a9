//! Standard output and error of a long run: each written by one thread, fed by a bounded queue.
//!
//! A reader that stalls (a pager, a collector that hangs) blocks that thread and nothing else.

use std::io::{self, Write};

use bowline_runtime::{
    metric::Counter,
    task,
    time::{self, Duration},
};
use tokio::sync::{mpsc, oneshot};

/// Texts that wait to be written, at most.
const TEXTS_MAX: usize = 1024;
/// How long a reader that stalls may hold up what is said in passing.
const SOON_MAX: Duration = Duration::from_secs(1);

/// The way to a stream. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Outlet(mpsc::Sender<Item>);

#[derive(Debug)]
enum Item {
    Text(String),
    /// Answered when all before it is written.
    Flush(oneshot::Sender<()>),
}

impl Outlet {
    /// Starts the thread that writes; it lives as long as the process may need it.
    pub(crate) fn open(mut stream: impl Write + Send + 'static) -> Self {
        let (sender, mut items) = mpsc::channel(TEXTS_MAX);
        let _lives_on = task::spawn_blocking(move || {
            while let Some(item) = items.blocking_recv() {
                match item {
                    // A closed pipe is no error of ours.
                    Item::Text(text) => stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).unwrap_or(()),
                    Item::Flush(done) => done.send(()).unwrap_or(()),
                }
            }
        });
        Self(sender)
    }

    /// Says a line, or several; waits for room as long as it takes.
    pub(crate) async fn line(&self, text: String) {
        self.send(Item::Text(text + "\n")).await;
    }

    /// Says a line now, or not at all: a reader that stalls must not hold up what comes next.
    pub(crate) async fn line_soon(&self, text: String) {
        let _in_time = time::timeout(SOON_MAX, self.line(text)).await;
    }

    /// Waits until all that was said before is written, as long as it takes.
    pub(crate) async fn flush(&self) {
        let (done, is_done) = oneshot::channel();
        self.send(Item::Flush(done)).await;
        let _written = is_done.await;
    }

    /// A writer for logs: never waits, and counts what finds no room.
    pub(crate) fn log(&self, dropped: Counter) -> Log {
        Log { outlet: self.clone(), dropped }
    }

    async fn send(&self, item: Item) {
        // The thread is gone only when the runtime is.
        let _gone = self.0.send(item).await;
    }
}

/// Writes log lines to an [`Outlet`].
#[derive(Debug, Clone)]
pub(crate) struct Log {
    outlet: Outlet,
    dropped: Counter,
}

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let item = Item::Text(String::from_utf8_lossy(text).into_owned());
        if self.outlet.0.try_send(item).is_err() {
            self.dropped.increment();
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, mpsc as std_mpsc};

    use bowline_runtime::metric;

    use super::*;

    /// Writes nothing until it is let.
    struct Stalled {
        gate: std_mpsc::Receiver<()>,
        written: Arc<Mutex<String>>,
    }

    impl Write for Stalled {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            // An error: the gate is open for good.
            self.gate.recv().unwrap_or(());
            self.written.lock().unwrap().push_str(std::str::from_utf8(text).unwrap());
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_stalled_reader_holds_up_nobody_and_what_is_dropped_is_counted() {
        let (gate, written) = (std_mpsc::channel(), Arc::new(Mutex::new(String::new())));
        let outlet = Outlet::open(Stalled { gate: gate.1, written: written.clone() });
        let dropped = metric::Registry::default().counter("dropped", "Dropped.", &[]);
        let mut log = outlet.log(dropped.clone());
        // One may be in the thread's hands already.
        for _ in 0..TEXTS_MAX + 2 {
            log.write_all(b"x\n").unwrap();
        }
        assert!((1..=2).contains(&dropped.get()), "{}", dropped.get());
        drop(gate.0);
        outlet.flush().await;
        outlet.line("last".to_owned()).await;
        outlet.flush().await;
        let written = written.lock().unwrap();
        assert!(written.ends_with("x\nlast\n") && written.len() >= TEXTS_MAX * 2);
    }
}
