//! Cut points of features: by equal counts, and finer and finer towards both ends, since what is rare is there.

use bank_features::{COUNT, Row};

/// The most bins of a feature, so that a code is a byte.
pub(super) const BINS_MAX: usize = 256;

/// The fewest rows beyond the outermost cut point.
const TAIL_MIN: usize = 8;

/// The bins of a row, by feature.
pub(super) type Codes = [u8; COUNT];

/// The cut points of all features: bin `b` has what is above cut `b - 1` and not above cut `b`.
#[derive(Debug)]
pub(super) struct Bins(Vec<Vec<f32>>);

impl Bins {
    /// By rows, into so many bins beside those of the tails.
    pub(super) fn of(rows: &[Row], bins: usize) -> Self {
        let of_feature = |feature| cuts(rows.iter().map(|row: &Row| row[feature]).collect(), bins);
        Self((0..COUNT).map(of_feature).collect())
    }

    pub(super) fn codes(&self, row: &Row) -> Codes {
        let mut codes = [0; COUNT];
        for ((code, cuts), value) in codes.iter_mut().zip(&self.0).zip(row) {
            *code = u8::try_from(cuts.partition_point(|cut| cut < value)).unwrap_or(u8::MAX);
        }
        codes
    }

    /// How many cut points a feature has.
    pub(super) fn cuts(&self, feature: usize) -> usize {
        self.0[feature].len()
    }

    /// The largest value of a bin.
    pub(super) fn cut(&self, feature: usize, bin: usize) -> f32 {
        self.0[feature][bin]
    }
}

/// Equal counts alone would put the largest hundredth, where frauds are, into one bin: the area below the curve would
/// hardly show that, precision would.
fn cuts(mut values: Vec<f32>, bins: usize) -> Vec<f32> {
    let count = values.len();
    if count == 0 {
        return Vec::new();
    }
    values.sort_unstable_by(f32::total_cmp);
    let bins = bins.clamp(1, BINS_MAX / 2);
    let mut at: Vec<usize> = (1..bins).map(|bin| bin * count / bins).collect();
    let mut tail = count / bins * 3 / 4;
    while tail >= TAIL_MIN {
        at.extend([tail, count - 1 - tail]);
        tail = tail * 3 / 4;
    }
    let mut cuts: Vec<f32> = at.into_iter().map(|at| values[at.min(count - 1)]).collect();
    cuts.sort_unstable_by(f32::total_cmp);
    cuts.dedup();
    // Above the largest value there is nothing to part from.
    let largest = values[count - 1];
    cuts.retain(|cut| *cut < largest);
    cuts.truncate(BINS_MAX - 1);
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tails_are_cut_finer_than_the_middle() {
        let values: Vec<f32> = (0..10_000_u16).map(f32::from).collect();
        let cuts = cuts(values, 16);
        assert!(cuts.is_sorted() && cuts.len() < BINS_MAX);
        let beyond = |from: f32| cuts.iter().filter(|cut| **cut > from).count();
        assert!(beyond(9_500.0) >= 10, "{cuts:?}");
        assert!(cuts.last().is_some_and(|cut| *cut > 9_980.0), "{cuts:?}");
    }

    #[test]
    fn what_is_always_the_same_is_not_cut() {
        assert!(cuts(vec![1.0; 500], 16).is_empty());
        assert!(cuts(Vec::new(), 16).is_empty());
        assert_eq!(cuts([vec![0.0; 900], vec![1.0; 100]].concat(), 16), [0.0]);
    }

    #[test]
    fn codes_agree_with_cuts() {
        let rows: Vec<Row> = (0..1_000_u16).map(|value| [f32::from(value); COUNT]).collect();
        let bins = Bins::of(&rows, 8);
        for row in &rows {
            let code = usize::from(bins.codes(row)[3]);
            for bin in 0..bins.cuts(3) {
                assert_eq!(code <= bin, row[3] <= bins.cut(3, bin));
            }
        }
    }
}
