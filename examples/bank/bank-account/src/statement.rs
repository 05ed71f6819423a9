//! Statements as CSV (RFC 4180), which spreadsheets open.

use std::fmt::Write as _;

use bowline::{Code, HandlerError};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::Deserialize;

use crate::account::Line;

/// The most lines of one statement.
pub(crate) const LINES_MAX: usize = 10_000;

/// Which time a statement is about: days, or moments, of UTC.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Period {
    from: Option<String>,
    to: Option<String>,
}

impl Period {
    /// From when on, and until before when, in milliseconds since 1970.
    pub(crate) fn bounds(&self) -> Result<(i64, i64), HandlerError> {
        let from = self.from.as_deref().map_or(Ok(i64::MIN), |text| moment("from", text))?;
        let to = self.to.as_deref().map_or(Ok(i64::MAX), |text| moment("to", text))?;
        if from > to {
            return Err(HandlerError::new(Code::Unprocessable, "from: no later than `to`"));
        }
        Ok((from, to))
    }
}

/// The moment that a text names; the first of a day.
fn moment(field: &str, text: &str) -> Result<i64, HandlerError> {
    let day = || text.parse::<Date>().and_then(|day| day.to_zoned(TimeZone::UTC)).map(|begin| begin.timestamp());
    // A time without its distance from UTC names no moment.
    let moment = if text.contains('T') { text.parse::<Timestamp>() } else { day() };
    let rule = format!("{field}: a day as 2026-01-31, or a moment as 2026-01-31T12:00:00Z");
    moment.map(Timestamp::as_millisecond).map_err(|_| HandlerError::new(Code::Unprocessable, rule))
}

/// The statement of these lines.
pub(crate) fn csv(lines: &[Line]) -> String {
    let mut csv = "posted_at,transaction,counterparty,amount,currency,balance\r\n".to_owned();
    for Line { posted_at_ms, transaction, counterparty, amount, currency, balance } in lines {
        let posted_at = Timestamp::from_millisecond(*posted_at_ms).unwrap_or(Timestamp::MAX);
        let (transaction, counterparty) = (cell(transaction), cell(counterparty));
        let currency = currency.as_str();
        write!(csv, "{posted_at:.3},{transaction},{counterparty},{amount},{currency},{balance}\r\n")
            .expect("a text can always be written to");
    }
    csv
}

/// A text as a cell. What spreadsheets take for a formula gets a `'` before it, which they take for "this is a text".
fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Currency;

    #[test]
    fn texts_are_cells_and_no_formulas() {
        for (text, expect) in [
            ("deposit:1", "deposit:1"),
            ("a,b", "\"a,b\""),
            ("say \"a\"", "\"say \"\"a\"\"\""),
            ("a\r\nb", "\"a\r\nb\""),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("=HYPERLINK(\"http://e\",\"x\")", "\"'=HYPERLINK(\"\"http://e\"\",\"\"x\"\")\""),
            ("", ""),
        ] {
            assert_eq!(cell(text), expect);
        }
    }

    #[test]
    fn a_line_has_its_moment_and_bare_numbers() {
        let line = Line {
            posted_at_ms: 1_767_225_600_007,
            transaction: "transfer:t-1".to_owned(),
            counterparty: "-b".to_owned(),
            amount: -250,
            currency: Currency::Eur,
            balance: -50,
        };
        let expect = "posted_at,transaction,counterparty,amount,currency,balance\r\n\
                      2026-01-01T00:00:00.007Z,transfer:t-1,'-b,-250,EUR,-50\r\n";
        assert_eq!(csv(&[line]), expect);
    }

    #[test]
    fn a_period_is_told_in_days_or_moments() {
        let period = |from: Option<&str>, to: Option<&str>| Period {
            from: from.map(ToOwned::to_owned),
            to: to.map(ToOwned::to_owned),
        };
        let new_year = 1_767_225_600_000;
        for (from, to, expect) in [
            (None, None, (i64::MIN, i64::MAX)),
            (Some("2026-01-01"), None, (new_year, i64::MAX)),
            (None, Some("2026-01-01T00:00:00.007Z"), (i64::MIN, new_year + 7)),
            (Some("2026-01-01"), Some("2026-01-01T01:00:00+01:00"), (new_year, new_year)),
        ] {
            assert_eq!(period(from, to).bounds().unwrap(), expect);
        }
        for (from, to) in [
            (Some("yesterday"), None),
            (Some("2026-01-01T12:00:00"), None),
            (None, Some("2026-13-01")),
            (Some("2026-01-02"), Some("2026-01-01")),
        ] {
            assert_eq!(period(from, to).bounds().unwrap_err().code(), Code::Unprocessable);
        }
    }
}
