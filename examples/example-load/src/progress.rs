//! What people see while a program runs: a line a second, rewritten where it can be.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use bowline_runtime::{
    task::{self, Guarded},
    time::{self, MissedTickBehavior},
};

/// Shows every second how far a run is, until it is dropped.
#[derive(Debug)]
pub struct Progress {
    _showing: Guarded<()>,
}

impl Progress {
    /// Begins now; `say` is asked every second for the text, that after the time. Without a length the run ends by itself.
    pub fn show(length: Option<Duration>, mut say: impl FnMut() -> String + Send + 'static) -> Self {
        let begun = time::now();
        let showing = async move {
            let mut ticks = time::interval(Duration::from_secs(1));
            // A program that was held up does not say so once for each second.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            ticks.tick().await;
            loop {
                ticks.tick().await;
                let elapsed = (time::now() - begun).as_secs();
                let of = length.map_or_else(String::new, |length| format!(" of {}", length.as_secs()));
                line(&format!("{elapsed:>4}{of} s  {}", say()));
            }
        };
        Self { _showing: Guarded::new(task::spawn(showing)) }
    }
}

/// A line on the standard error, which the next one replaces on a terminal.
fn line(text: &str) {
    let (start, end) = if std::io::stderr().is_terminal() { ("\r", "\x1b[K") } else { ("", "\n") };
    let _closed = std::io::stderr().write_all(format!("{start}{text}{end}").as_bytes());
}

/// Shows how many of all are done: on a terminal each time, else the last time.
pub fn rewrite(what: &str, done: usize, all: usize) {
    let text = match (std::io::stderr().is_terminal(), done == all) {
        (true, false) => format!("\r{what} {done} of {all}\x1b[K"),
        (true, true) => format!("\r{what} {done} of {all}\x1b[K\n"),
        (false, true) => format!("{what} {done} of {all}\n"),
        (false, false) => return,
    };
    let _closed = std::io::stderr().write_all(text.as_bytes());
}
