//! Lines of a process's output: bounded in length, the last ones remembered.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

/// The longest line, in bytes; a longer one comes in pieces.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024;

/// Bytes read at once.
const READ_BYTES: usize = 4096;

/// The lines of a process's output.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader: BufReader::with_capacity(READ_BYTES, reader), line: Vec::new() }
    }

    /// The next line without its end; `None` after the last one. What is no UTF-8 is replaced.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            // An error ends the output as its end does: there is nobody to tell but the process.
            let read = self.reader.fill_buf().await.unwrap_or_default();
            if read.is_empty() {
                return (!self.line.is_empty()).then(|| self.take());
            }
            let room = (LINE_BYTES_MAX - self.line.len()).min(read.len());
            let newline = read[..room].iter().position(|byte| *byte == b'\n');
            let length = newline.unwrap_or(room);
            self.line.extend_from_slice(&read[..length]);
            self.reader.consume(newline.map_or(length, |at| at + 1));
            if newline.is_some() || self.line.len() == LINE_BYTES_MAX {
                return Some(self.take());
            }
        }
    }

    fn take(&mut self) -> String {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let line = String::from_utf8_lossy(line).into_owned();
        self.line.clear();
        line
    }
}

/// The last lines of an output, shared by who writes and who asks.
#[derive(Debug, Clone)]
pub(crate) struct Tail(Arc<Mutex<TailState>>);

#[derive(Debug)]
struct TailState {
    lines: VecDeque<String>,
    lines_max: usize,
    /// How many of them are of the current process.
    current: usize,
}

impl Tail {
    /// Remembers so many.
    pub(crate) fn new(lines_max: usize) -> Self {
        Self(Arc::new(Mutex::new(TailState { lines: VecDeque::new(), lines_max, current: 0 })))
    }

    /// Adds a line; the oldest goes.
    pub(crate) fn push(&self, line: &str) {
        let mut state = self.lock();
        if state.lines.len() == state.lines_max {
            state.lines.pop_front();
        }
        state.lines.push_back(line.to_owned());
        state.current = (state.current + 1).min(state.lines_max);
    }

    /// Says that another process writes from now on.
    pub(crate) fn begin(&self) {
        self.lock().current = 0;
    }

    /// The last lines of all processes.
    pub(crate) fn all(&self) -> Vec<String> {
        self.lock().lines.iter().cloned().collect()
    }

    /// The last lines of the current process.
    pub(crate) fn current(&self) -> Vec<String> {
        let state = self.lock();
        state.lines.iter().skip(state.lines.len() - state.current).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, TailState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(input: &[u8]) -> Vec<String> {
        let mut lines = Lines::new(input);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await {
            all.push(line);
        }
        all
    }

    #[tokio::test]
    async fn lines_end_with_either_end_or_none() {
        assert_eq!(read_all(b"a\r\nb\n\nc").await, ["a", "b", "", "c"]);
        assert!(read_all(b"").await.is_empty());
        assert_eq!(read_all(b"\xff\n").await, ["\u{fffd}"]);
    }

    #[tokio::test]
    async fn an_endless_line_comes_in_pieces() {
        let pieces = read_all(&vec![b'x'; 2 * LINE_BYTES_MAX + 1]).await;
        assert_eq!(pieces.iter().map(String::len).collect::<Vec<_>>(), [LINE_BYTES_MAX, LINE_BYTES_MAX, 1]);
    }

    #[test]
    fn a_tail_knows_what_the_current_process_wrote() {
        let tail = Tail::new(3);
        for line in ["a", "b", "c", "d"] {
            tail.push(line);
        }
        tail.begin();
        assert!(tail.current().is_empty());
        tail.push("e");
        assert_eq!(tail.all(), ["c", "d", "e"]);
        assert_eq!(tail.current(), ["e"]);
    }
}
