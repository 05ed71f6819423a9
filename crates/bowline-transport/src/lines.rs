//! Bytes, as they come, cut into lines.

use bytes::{Bytes, BytesMut};

/// A line that is longer than its reader takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line is too long: more than {max} bytes")]
pub struct TooLong {
    /// The most bytes of one.
    pub max: usize,
}

/// Cuts bytes into lines.
#[derive(Debug)]
pub struct LineReader {
    read: BytesMut,
    /// Bytes in which no end was found.
    scanned: usize,
    /// Whether a line feed at the beginning belongs to the line before.
    is_after_return: bool,
    /// Whether a carriage return ends a line, too.
    by_return: bool,
    /// The most bytes of a line.
    max: usize,
}

impl LineReader {
    /// Lines of so many bytes at most that end with a line feed.
    pub fn by_feed(max: usize) -> Self {
        Self { read: BytesMut::new(), scanned: 0, is_after_return: false, by_return: false, max }
    }

    /// Lines of so many bytes at most that end with a line feed, a carriage return, or both.
    pub fn by_any(max: usize) -> Self {
        Self { by_return: true, ..Self::by_feed(max) }
    }

    /// The same with another bound on a line.
    #[must_use]
    pub fn with_max(self, max: usize) -> Self {
        Self { max, ..self }
    }

    /// Adds what came. Take the lines before there is more: nothing else bounds what it holds.
    pub fn push(&mut self, bytes: &[u8]) {
        self.read.extend_from_slice(bytes);
    }

    /// The next whole line, without its end.
    ///
    /// # Errors
    /// When it is too long, also before its end is there.
    pub fn next_line(&mut self) -> Result<Option<Bytes>, TooLong> {
        if self.is_after_return && !self.read.is_empty() {
            self.is_after_return = false;
            if self.read[0] == b'\n' {
                let _feed = self.read.split_to(1);
            }
        }
        let too_long = TooLong { max: self.max };
        let is_end = |byte: &u8| *byte == b'\n' || (self.by_return && *byte == b'\r');
        let Some(at) = self.read[self.scanned..].iter().position(is_end) else {
            self.scanned = self.read.len();
            return if self.scanned > self.max { Err(too_long) } else { Ok(None) };
        };
        let line = self.read.split_to(self.scanned + at);
        self.scanned = 0;
        self.is_after_return = self.read.split_to(1)[0] == b'\r';
        if line.len() > self.max { Err(too_long) } else { Ok(Some(line.freeze())) }
    }

    /// What is left at the end.
    pub fn rest(&mut self) -> Bytes {
        self.scanned = 0;
        self.read.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_by_feed_keep_their_carriage_returns() {
        let mut lines = LineReader::by_feed(10);
        lines.push(b"a\r\nb");
        assert_eq!(lines.next_line().unwrap().unwrap(), "a\r");
        assert!(lines.next_line().unwrap().is_none());
        assert_eq!(lines.rest(), "b");
    }

    #[test]
    fn a_line_is_too_long_with_and_without_its_end() {
        let mut lines = LineReader::by_any(3);
        lines.push(b"abc\r");
        assert_eq!(lines.next_line().unwrap().unwrap(), "abc");
        lines.push(b"\nabcd");
        assert_eq!(lines.next_line(), Err(TooLong { max: 3 }));
        lines.push(b"\n");
        assert_eq!(lines.next_line(), Err(TooLong { max: 3 }));
    }
}
