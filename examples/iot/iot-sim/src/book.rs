//! What a device has read, and what of it was acknowledged: what the audit holds the system to.

use std::ops::Range;

use iot_detect::Reading;

/// A device's readings, each with a number.
#[derive(Debug, Clone)]
pub struct Book {
    pub(crate) id: String,
    /// The number of the first; each has one more than the one before.
    pub(crate) first_sequence: i64,
    pub(crate) made: Vec<Reading>,
    /// Of each, whether the broker has acknowledged it.
    acknowledged: Vec<bool>,
    unacknowledged: usize,
}

impl Book {
    pub(crate) fn new(id: String, first_sequence: i64) -> Self {
        Self { id, first_sequence, made: Vec::new(), acknowledged: Vec::new(), unacknowledged: 0 }
    }

    /// How many readings there are.
    pub fn made(&self) -> usize {
        self.made.len()
    }

    /// How many were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.made.len() - self.unacknowledged
    }

    pub(crate) fn unacknowledged(&self) -> usize {
        self.unacknowledged
    }

    pub(crate) fn is_acknowledged(&self, index: usize) -> bool {
        self.acknowledged.get(index).is_some_and(|is_acknowledged| *is_acknowledged)
    }

    pub(crate) fn push(&mut self, reading: Reading) {
        self.made.push(reading);
        self.acknowledged.push(false);
        self.unacknowledged += 1;
    }

    /// Books that these were acknowledged; of how many that was news.
    pub(crate) fn acknowledge(&mut self, range: Range<usize>) -> usize {
        let mut news = 0;
        for is_acknowledged in &mut self.acknowledged[range] {
            news += usize::from(!*is_acknowledged);
            *is_acknowledged = true;
        }
        self.unacknowledged -= news;
        news
    }

    /// The next that are to be said again: from there on, so many at most.
    pub(crate) fn unsaid(&self, from: usize, most: usize) -> Option<Range<usize>> {
        let first = (from..self.made.len()).find(|index| !self.acknowledged[*index])?;
        let end = (first..self.made.len().min(first + most)).find(|index| self.acknowledged[*index]);
        Some(first..end.unwrap_or(self.made.len().min(first + most)))
    }

    /// The number of a reading.
    pub(crate) fn sequence(&self, index: usize) -> i64 {
        self.first_sequence.saturating_add(i64::try_from(index).unwrap_or(i64::MAX))
    }

    /// Which reading has that number; nothing where it is of another run, an error where nobody made it.
    pub(crate) fn index(&self, sequence: i64) -> Result<Option<usize>, ()> {
        let Ok(index) = usize::try_from(sequence.saturating_sub(self.first_sequence)) else { return Ok(None) };
        if index < self.made.len() { Ok(Some(index)) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_acknowledged_is_said_again() {
        let mut book = Book::new("d-1".to_owned(), 100);
        for at_ms in 0..10 {
            book.push(Reading { at_ms, value: 0.0 });
        }
        assert_eq!((book.acknowledge(2..5), book.acknowledge(4..6)), (3, 1));
        assert_eq!((book.acknowledged(), book.unacknowledged()), (4, 6));
        assert_eq!(book.unsaid(0, 20), Some(0..2));
        assert_eq!(book.unsaid(2, 3), Some(6..9));
        assert_eq!(book.unsaid(9, 3), Some(9..10));
        assert_eq!(book.unsaid(10, 3), None);
        assert_eq!((book.sequence(3), book.index(103), book.index(99)), (103, Ok(Some(3)), Ok(None)));
        assert_eq!(book.index(110), Err(()));
    }
}
