//! What people see while a program runs: a line now and then, rewritten where it can be, and what it says in the end.

use std::{
    fmt,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};

use bowline_runtime::{
    task::{self, Guarded},
    time::{self, MissedTickBehavior},
};

/// Shows now and then how far a run is, until it is dropped.
#[derive(Debug)]
pub struct Progress {
    _showing: Guarded<()>,
}

impl Progress {
    /// Begins now; `say` is asked every second for the text, that after the time. Without a length the run ends by itself.
    pub fn show(length: Option<Duration>, say: impl FnMut() -> String + Send + 'static) -> Self {
        Self::every(Duration::from_secs(1), length, say)
    }

    /// The same, where a line a second would be too many.
    pub fn every(pause: Duration, length: Option<Duration>, mut say: impl FnMut() -> String + Send + 'static) -> Self {
        let begun = time::now();
        let showing = async move {
            let mut ticks = time::interval(pause);
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

/// Nobody reads what the program says: it was piped into one that has ended, as `head` does.
#[derive(Debug)]
struct Unread;

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the answer")
    }
}

impl std::error::Error for Unread {}

/// Writes a line of the program's answer to the standard output.
///
/// # Errors
/// When it cannot be written; of one that nobody reads any more, [`quietly`] says nothing.
pub fn say(text: impl fmt::Display) -> anyhow::Result<()> {
    write(&mut io::stdout().lock(), text)
}

fn write(out: &mut impl io::Write, text: impl fmt::Display) -> anyhow::Result<()> {
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Unread.into()),
        written => Ok(written?),
    }
}

/// How the program ends: without a word where nobody reads what it says, though not as if all were well.
///
/// # Errors
/// Those of the program.
pub fn quietly(ended: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    match ended {
        Err(error) if error.is::<Unread>() => Ok(ExitCode::FAILURE),
        ended => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written to it meets that.
    struct Broken(io::ErrorKind);

    impl io::Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn whom_nobody_reads_ends_quietly() {
        let ended = |kind| quietly(write(&mut Broken(kind), "audit").map(|()| ExitCode::SUCCESS));
        assert_eq!(ended(io::ErrorKind::BrokenPipe).unwrap(), ExitCode::FAILURE);
        assert!(ended(io::ErrorKind::StorageFull).is_err());
        let mut out = Vec::new();
        write(&mut out, format_args!("{} of {}", 1, 2)).unwrap();
        assert_eq!(out, b"1 of 2\n");
    }
}
