//! Puts what a log says back into the head.

use bowline_disk::Corrupt;

use super::Head;
use crate::{labels::Labels, series::record::Listener, source::SeriesRef};

/// The most series that one log names at a time: a larger number is damage.
const SERIES_MAX: usize = 1 << 24;

/// What the numbers of series mean that a log uses.
#[derive(Debug)]
pub(crate) struct Replay<'a> {
    head: &'a mut Head,
    series: Vec<Option<(SeriesRef, u64)>>,
    /// How many samples were of series that found no place, as fewer are allowed than were.
    pub(crate) lost: u64,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(head: &'a mut Head) -> Self {
        Self { head, series: Vec::new(), lost: 0 }
    }
}

impl Listener for Replay<'_> {
    fn define(&mut self, series: u32, labels: Labels) -> Result<(), Corrupt> {
        let at = series as usize;
        if at >= SERIES_MAX {
            return Err(Corrupt);
        }
        if self.series.len() <= at {
            self.series.resize(at + 1, None);
        }
        // A reference to nothing, when it finds no place.
        let reference = self.head.intern(&labels).unwrap_or(SeriesRef::NONE);
        self.series[at] = Some((reference, 0));
        Ok(())
    }

    fn before(&mut self, series: u32) -> Result<u64, Corrupt> {
        let known = self.series.get(series as usize).copied().flatten();
        known.map(|(_, bits)| bits).ok_or(Corrupt)
    }

    fn sample(&mut self, series: u32, at_ms: i64, bits: u64) {
        let Some(Some((reference, last))) = self.series.get_mut(series as usize) else { return };
        *last = bits;
        let reference = *reference;
        if reference == SeriesRef::NONE {
            self.lost += 1;
        } else {
            self.head.append_logged(reference, at_ms, f64::from_bits(bits));
        }
    }
}
