//! Files in the shape of the Numenta Anomaly Benchmark: `timestamp,value`, one reading a line.
//!
//! Real ones have gaps, times that come twice, and an hour that comes twice in autumn: all of this is borne. What
//! cannot be read is an error with its line.

use std::fmt::{self, Write as _};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use crate::Reading;

/// The largest file that is read.
pub const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The most readings of a file.
pub const READINGS_MAX: usize = 2_000_000;

/// The longest line.
const LINE_MAX: usize = 4096;

/// The most mistakes that are told at once.
const MISTAKES_MAX: usize = 20;

/// The readings of a file, in its order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    pub readings: Vec<Reading>,
    /// Those that are not later than one before: a detector leaves them out.
    pub late_count: usize,
    /// Lines without a value: no reading.
    pub empty_count: usize,
}

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Counted from 1.
    pub line: usize,
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: error: {}", self.line, self.message)
    }
}

/// Which columns are read; others may stand beside them.
#[derive(Debug, Clone, Copy)]
struct Columns {
    timestamp: usize,
    value: usize,
}

/// Reads the text of a file.
///
/// # Errors
/// Every line that cannot be read, the first 20 of them.
pub fn read(text: &str) -> Result<Series, Vec<Mistake>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let header = lines.next().map_or("", |(_, header)| header);
    let columns = Columns::of(header).map_err(|message| vec![Mistake { line: 1, message }])?;
    let (mut series, mut mistakes) = (Series::default(), Vec::new());
    let mut latest_ms = None;
    for (line, text) in lines.filter(|(_, text)| !text.trim().is_empty()) {
        match read_line(text, columns) {
            Ok(_) if series.readings.len() == READINGS_MAX => {
                mistakes.push(Mistake { line, message: format!("more than {READINGS_MAX} readings, split the file") });
                break;
            }
            Ok(Some(reading)) => {
                series.late_count += usize::from(latest_ms.is_some_and(|latest_ms| reading.at_ms <= latest_ms));
                latest_ms = latest_ms.max(Some(reading.at_ms));
                series.readings.push(reading);
            }
            Ok(None) => series.empty_count += 1,
            Err(message) => mistakes.push(Mistake { line, message }),
        }
        if mistakes.len() == MISTAKES_MAX {
            break;
        }
    }
    if mistakes.is_empty() { Ok(series) } else { Err(mistakes) }
}

impl Columns {
    fn of(header: &str) -> Result<Self, String> {
        let place = |name: &str| {
            let place = header.split(',').position(|column| column.trim().eq_ignore_ascii_case(name));
            place.ok_or_else(|| format!("no column `{name}`, begin the file with the line `timestamp,value`"))
        };
        if header.len() > LINE_MAX {
            return Err(format!("the line is longer than {LINE_MAX} bytes"));
        }
        Ok(Self { timestamp: place("timestamp")?, value: place("value")? })
    }
}

/// The reading of a line; none where there is no value.
fn read_line(line: &str, columns: Columns) -> Result<Option<Reading>, String> {
    if line.len() > LINE_MAX {
        return Err(format!("the line is longer than {LINE_MAX} bytes"));
    }
    let column = |place: usize, name: &str| {
        let column = line.split(',').nth(place).map(str::trim);
        column.ok_or_else(|| format!("there is no {name}: column {} is missing", place + 1))
    };
    let at_ms = read_time(column(columns.timestamp, "timestamp")?)?;
    let text = column(columns.value, "value")?;
    if text.is_empty() {
        return Ok(None);
    }
    let value = text.parse().ok().filter(|value: &f64| value.is_finite());
    let value = value.ok_or_else(|| format!("the value `{}` is no decimal number", shown(text)))?;
    Ok(Some(Reading { at_ms, value }))
}

/// A time without a zone, in milliseconds since 1970 as if it were UTC.
pub(crate) fn read_time(text: &str) -> Result<i64, String> {
    let at = text.parse::<DateTime>().and_then(|at| at.to_zoned(TimeZone::UTC));
    let at = at.map_err(|_| format!("the timestamp `{}` is no `YYYY-MM-DD HH:MM:SS`", shown(text)))?;
    Ok(at.timestamp().as_millisecond())
}

/// A time as it stands in such a file.
pub fn time(at_ms: i64) -> String {
    let at = Timestamp::from_millisecond(at_ms);
    at.map_or_else(|_| format!("{at_ms} ms"), |at| at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// What of a foreign text is repeated.
fn shown(text: &str) -> String {
    text.chars().take(40).filter(|c| !c.is_control()).collect()
}

/// A file's text, of readings.
pub fn write(readings: impl IntoIterator<Item = Reading>) -> String {
    let mut text = "timestamp,value\n".to_owned();
    for Reading { at_ms, value } in readings {
        writeln!(text, "{},{value}", time(at_ms)).expect("a string takes everything");
    }
    text
}
