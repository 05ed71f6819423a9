//! Conversions between numbers, and the median.

/// What is kept of a number. State is of `f32`, which JSON gives back as it was, and which is half as large.
#[expect(clippy::cast_possible_truncation, reason = "seven digits do for what is learned of a sensor")]
pub(crate) fn narrow(value: f64) -> f32 {
    let bound = f64::from(f32::MAX);
    value.clamp(-bound, bound) as f32
}

/// A span of time, or a count, to calculate with.
#[expect(clippy::cast_precision_loss, reason = "spans below 285,000 years are exact")]
pub(crate) fn real(value: i64) -> f64 {
    value as f64
}

/// A count, to calculate with.
pub(crate) fn real_count(count: usize) -> f64 {
    real(i64::try_from(count).unwrap_or(i64::MAX))
}

/// The nearest whole number; the least or the greatest where it is beyond.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, which is what is wanted")]
pub(crate) fn whole(value: f64) -> i64 {
    value.round() as i64
}

/// The middle of some values, or between the two in the middle; nothing of none.
pub(crate) fn median(values: &[f32]) -> Option<f32> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get((sorted.len() - 1) / 2)?;
    Some(lower.midpoint(upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        for (values, expect) in
            [(&[][..], None), (&[3.0][..], Some(3.0)), (&[4.0, 1.0][..], Some(2.5)), (&[9.0, 1.0, 2.0][..], Some(2.0))]
        {
            assert_eq!(median(values), expect);
        }
    }

    #[test]
    fn what_is_too_great_is_bounded() {
        assert_eq!((narrow(1e300), narrow(-1e300)), (f32::MAX, f32::MIN));
        assert_eq!((whole(1e300), whole(-1e300), whole(1.5)), (i64::MAX, i64::MIN, 2));
    }
}
