//! What a time in seconds since 1970 is in the calendar, in UTC.

const DAY_SECONDS: i64 = 86_400;

/// A day of the (proleptic Gregorian) calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Date {
    year: i64,
    /// From 1.
    month: i64,
    /// From 1.
    day: i64,
}

/// The seconds without their fraction; of none that can be reckoned with, 1970.
#[expect(clippy::cast_possible_truncation, reason = "it saturates, and is bounded here")]
fn whole(seconds: f64) -> i64 {
    let seconds = seconds as i64;
    seconds.clamp(i64::MIN / 4, i64::MAX / 4)
}

#[expect(clippy::cast_precision_loss, reason = "parts of a date are small")]
fn value(part: i64) -> f64 {
    part as f64
}

/// The day, by Howard Hinnant's algorithm `civil_from_days`, which begins years in March.
fn date(seconds: f64) -> Date {
    let days = whole(seconds).div_euclid(DAY_SECONDS) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    Date {
        year: year_of_era + era * 400 + i64::from(month <= 2),
        month,
        day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

pub(in crate::promql) fn year(seconds: f64) -> f64 {
    value(date(seconds).year)
}

pub(in crate::promql) fn month(seconds: f64) -> f64 {
    value(date(seconds).month)
}

pub(in crate::promql) fn day_of_month(seconds: f64) -> f64 {
    value(date(seconds).day)
}

pub(in crate::promql) fn day_of_year(seconds: f64) -> f64 {
    let Date { year, month, day } = date(seconds);
    value((1..month).map(|month| month_days(year, month)).sum::<i64>() + day)
}

/// From 0, which is Sunday.
pub(in crate::promql) fn day_of_week(seconds: f64) -> f64 {
    value((whole(seconds).div_euclid(DAY_SECONDS) + 4).rem_euclid(7))
}

pub(in crate::promql) fn days_in_month(seconds: f64) -> f64 {
    let Date { year, month, day: _ } = date(seconds);
    value(month_days(year, month))
}

pub(in crate::promql) fn hour(seconds: f64) -> f64 {
    value(whole(seconds).rem_euclid(DAY_SECONDS) / 3600)
}

pub(in crate::promql) fn minute(seconds: f64) -> f64 {
    value(whole(seconds).rem_euclid(3600) / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        let check = |seconds: f64, expected: (i64, i64, i64)| {
            let Date { year, month, day } = date(seconds);
            assert_eq!((year, month, day), expected, "{seconds}");
        };
        check(0.0, (1970, 1, 1));
        check(-1.0, (1969, 12, 31));
        check(951_782_400.0, (2000, 2, 29));
        check(4_107_542_400.0, (2100, 3, 1));
        check(1_706_659_200.5, (2024, 1, 31));
        for wild in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            assert!(year(wild).is_finite() && day_of_week(wild) < 7.0);
        }
        assert_eq!((day_of_week(0.0), day_of_year(951_868_800.0), hour(-1.0), minute(-1.0)), (4.0, 61.0, 23.0, 59.0));
    }
}
