//! The index of a block: its series by their labels, and where their columns stand.
//!
//! ```text
//! index  = text_count (length text)* pair_count (name value)* column_count column* series_count series*
//! column = length check(4) sample_count from (to - from)
//! series = pair_count pair* chunk_count (column (length << 1 | order) check(4))*
//! ```
//!
//! Texts and pairs are sorted, so are series by their labels. A text, a pair or a column is referred to by
//! its number. Columns stand one after the other, of times first, in the order in which they come here.

use std::{collections::BTreeMap, sync::Arc};

use bowline_disk::{Corrupt, Reader, put_count, put_number, put_signed};

use super::HEAD_LEN;
use crate::{
    labels::Labels,
    series::{
        chunk::{CHUNK_SAMPLES_MAX, Order},
        postings::Postings,
    },
};

/// Writes an index.
#[derive(Debug)]
pub(super) struct Builder {
    texts: BTreeMap<Arc<str>, u32>,
    pairs: BTreeMap<(u32, u32), u32>,
    columns: Vec<u8>,
    column_count: u32,
    series: Vec<u8>,
    series_count: usize,
    /// Of the series that was begun.
    chunks: Vec<u8>,
    chunk_count: usize,
}

impl Builder {
    pub(super) fn new<'a>(series: impl Iterator<Item = &'a Labels> + Clone) -> Self {
        let mut texts = BTreeMap::new();
        for (name, value) in series.clone().flat_map(Labels::pairs) {
            for text in [name, value] {
                if !texts.contains_key(text) {
                    texts.insert(Arc::clone(text), 0);
                }
            }
        }
        texts.values_mut().zip(0..).for_each(|(number, at)| *number = at);
        let mut pairs: BTreeMap<_, _> =
            series.flat_map(Labels::pairs).map(|(name, value)| ((texts[name], texts[value]), 0)).collect();
        pairs.values_mut().zip(0..).for_each(|(number, at)| *number = at);
        Self {
            texts,
            pairs,
            columns: Vec::new(),
            column_count: 0,
            series: Vec::new(),
            series_count: 0,
            chunks: Vec::new(),
            chunk_count: 0,
        }
    }

    /// Notes a column of times; gives its number.
    pub(super) fn times(&mut self, bytes: usize, check: u32, count: usize, from_ms: i64, to_ms: i64) -> u32 {
        put_count(&mut self.columns, bytes);
        self.columns.extend_from_slice(&check.to_le_bytes());
        put_count(&mut self.columns, count);
        put_signed(&mut self.columns, from_ms);
        put_number(&mut self.columns, to_ms.wrapping_sub(from_ms).cast_unsigned());
        self.column_count += 1;
        self.column_count - 1
    }

    /// Begins the next series.
    pub(super) fn begin(&mut self, labels: &Labels) {
        self.put_chunks();
        self.series_count += 1;
        put_count(&mut self.series, labels.len());
        for (name, value) in labels.pairs() {
            let pair = self.pairs[&(self.texts[name], self.texts[value])];
            put_number(&mut self.series, u64::from(pair));
        }
    }

    /// Notes the values of the series that was begun.
    pub(super) fn chunk(&mut self, column: u32, order: Order, bytes: usize, check: u32) {
        self.chunk_count += 1;
        put_number(&mut self.chunks, u64::from(column));
        put_number(&mut self.chunks, (bytes as u64) << 1 | u64::from(order == Order::Changes));
        self.chunks.extend_from_slice(&check.to_le_bytes());
    }

    fn put_chunks(&mut self) {
        if self.series_count > 0 {
            put_count(&mut self.series, self.chunk_count);
            self.series.append(&mut self.chunks);
            self.chunk_count = 0;
        }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.put_chunks();
        let mut out = Vec::new();
        put_count(&mut out, self.texts.len());
        for text in self.texts.keys() {
            put_count(&mut out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
        put_count(&mut out, self.pairs.len());
        for (name, value) in self.pairs.keys() {
            put_number(&mut out, u64::from(*name));
            put_number(&mut out, u64::from(*value));
        }
        put_number(&mut out, u64::from(self.column_count));
        out.append(&mut self.columns);
        put_count(&mut out, self.series_count);
        out.append(&mut self.series);
        out
    }
}

/// An index that was read.
#[derive(Debug)]
pub(crate) struct Index {
    texts: Vec<Arc<str>>,
    pairs: Vec<(u32, u32)>,
    /// Of each series its pairs.
    series: Lists,
    /// Of each pair its series.
    postings: Lists,
    pub(super) columns: Vec<Column>,
    chunks: Vec<Stored>,
    /// Where the chunks of each series begin; one more at the end.
    chunk_starts: Vec<u32>,
}

/// A column of times.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) at: u64,
    pub(super) bytes: usize,
    pub(super) check: u32,
    pub(super) count: usize,
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
}

/// A column of values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub(super) times: u32,
    pub(super) order: Order,
    pub(super) at: u64,
    pub(super) bytes: usize,
    pub(super) check: u32,
}

/// Lists of numbers, one after the other.
#[derive(Debug, Default)]
struct Lists {
    starts: Vec<u32>,
    items: Vec<u32>,
}

impl Lists {
    fn get(&self, at: usize) -> &[u32] {
        let range = self.starts.get(at).zip(self.starts.get(at + 1));
        range.and_then(|(from, to)| self.items.get(*from as usize..*to as usize)).unwrap_or_default()
    }

    /// Of each of so many items the lists that it is in.
    fn inverted(&self, count: usize) -> Self {
        let mut starts = vec![0_u32; count + 1];
        self.items.iter().for_each(|item| starts[*item as usize + 1] += 1);
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut items = vec![0; self.items.len()];
        for list in 0..self.starts.len().saturating_sub(1) {
            for item in self.get(list) {
                let place = &mut next[*item as usize];
                items[*place as usize] = u32::try_from(list).unwrap_or(u32::MAX);
                *place += 1;
            }
        }
        Self { starts, items }
    }
}

impl Index {
    pub(super) fn decode(bytes: &[u8], data_end: u64) -> Result<Self, Corrupt> {
        let mut reader = Reader(bytes);
        let texts = (0..reader.count(1)?).map(|_| {
            let length = reader.index()?;
            Ok(Arc::from(str::from_utf8(reader.slice(length)?).map_err(|_| Corrupt)?))
        });
        let texts = texts.collect::<Result<Vec<_>, Corrupt>>()?;
        let pairs =
            (0..reader.count(2)?).map(|_| Ok((below(&mut reader, texts.len())?, below(&mut reader, texts.len())?)));
        let pairs = pairs.collect::<Result<Vec<_>, Corrupt>>()?;
        let mut at = HEAD_LEN as u64;
        let columns = (0..reader.count(8)?).map(|_| Column::decode(&mut reader, &mut at));
        let columns = columns.collect::<Result<Vec<_>, Corrupt>>()?;
        let mut index = Self {
            texts,
            pairs,
            series: Lists { starts: vec![0], items: Vec::new() },
            postings: Lists::default(),
            columns,
            chunks: Vec::new(),
            chunk_starts: vec![0],
        };
        for _ in 0..reader.count(2)? {
            index.decode_series(&mut reader, &mut at)?;
        }
        if at != data_end || !reader.0.is_empty() {
            return Err(Corrupt);
        }
        index.postings = index.series.inverted(index.pairs.len());
        Ok(index)
    }

    fn decode_series(&mut self, reader: &mut Reader<'_>, at: &mut u64) -> Result<(), Corrupt> {
        for _ in 0..reader.count(1)? {
            self.series.items.push(below(reader, self.pairs.len())?);
        }
        self.series.starts.push(u32::try_from(self.series.items.len()).map_err(|_| Corrupt)?);
        for _ in 0..reader.count(6)? {
            let times = below(reader, self.columns.len())?;
            let form = reader.number()?;
            let order = if form & 1 == 0 { Order::Differences } else { Order::Changes };
            let bytes = usize::try_from(form >> 1).map_err(|_| Corrupt)?;
            let check = u32::from_le_bytes(reader.array()?);
            self.chunks.push(Stored { times, order, at: *at, bytes, check });
            *at = at.checked_add(form >> 1).ok_or(Corrupt)?;
        }
        self.chunk_starts.push(u32::try_from(self.chunks.len()).map_err(|_| Corrupt)?);
        Ok(())
    }

    /// The labels of a series.
    pub(crate) fn labels(&self, series: u32) -> Labels {
        let text = |at: u32| Arc::clone(&self.texts[at as usize]);
        let pairs = self.series.get(series as usize).iter().map(|pair| {
            let (name, value) = self.pairs[*pair as usize];
            (text(name), text(value))
        });
        Labels::from_sorted(pairs.collect::<Vec<_>>())
    }

    /// The columns of values of a series.
    pub(super) fn chunks(&self, series: u32) -> &[Stored] {
        let starts = &self.chunk_starts[series as usize..];
        &self.chunks[starts[0] as usize..starts[1] as usize]
    }

    /// The columns of times and values of a series that have to do with that time.
    pub(super) fn chunks_within(&self, series: u32, from_ms: i64, to_ms: i64) -> impl Iterator<Item = &Stored> {
        self.chunks(series).iter().filter(move |chunk| {
            let times = &self.columns[chunk.times as usize];
            times.from_ms <= to_ms && times.to_ms >= from_ms
        })
    }

    pub(crate) fn label_names(&self, mut visit: impl FnMut(&str)) {
        let mut last = None;
        for (name, _) in &self.pairs {
            if last != Some(name) {
                visit(&self.texts[*name as usize]);
                last = Some(name);
            }
        }
    }

    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let texts: usize = self.texts.iter().map(|text| text.len() + 32).sum();
        let numbers = self.series.items.len() + self.series.starts.len() + self.postings.items.len();
        let chunks = self.chunks.len() * size_of::<Stored>() + self.columns.len() * size_of::<Column>();
        texts + numbers * 4 + self.pairs.len() * 12 + self.chunk_starts.len() * 4 + chunks
    }

    fn text(&self, at: u32) -> &str {
        &self.texts[at as usize]
    }
}

impl Column {
    fn decode(reader: &mut Reader<'_>, at: &mut u64) -> Result<Self, Corrupt> {
        let bytes = reader.index()?;
        let check = u32::from_le_bytes(reader.array()?);
        let count = reader.index()?;
        let from_ms = reader.signed()?;
        let to_ms = from_ms.wrapping_add_unsigned(reader.number()?);
        if count == 0 || count > CHUNK_SAMPLES_MAX {
            return Err(Corrupt);
        }
        let column = Self { at: *at, bytes, check, count, from_ms, to_ms };
        *at = at.checked_add(bytes as u64).ok_or(Corrupt)?;
        Ok(column)
    }
}

impl Postings for Index {
    fn bound(&self) -> usize {
        self.series.starts.len() - 1
    }

    fn all(&self, visit: impl FnMut(u32)) {
        (0..u32::try_from(self.bound()).unwrap_or(u32::MAX)).for_each(visit);
    }

    fn equal(&self, name: &str, value: &str) -> &[u32] {
        let found = self.pairs.binary_search_by(|pair| (self.text(pair.0), self.text(pair.1)).cmp(&(name, value)));
        found.map_or(&[], |at| self.postings.get(at))
    }

    fn values<'a>(&'a self, name: &str, mut visit: impl FnMut(&'a str, &'a [u32])) {
        let from = self.pairs.partition_point(|pair| self.text(pair.0) < name);
        for at in from..self.pairs.len() {
            let (known, value) = self.pairs[at];
            if self.text(known) != name {
                break;
            }
            visit(self.text(value), self.postings.get(at));
        }
    }
}

fn below(reader: &mut Reader<'_>, bound: usize) -> Result<u32, Corrupt> {
    let number = reader.index()?;
    if number < bound { u32::try_from(number).map_err(|_| Corrupt) } else { Err(Corrupt) }
}
