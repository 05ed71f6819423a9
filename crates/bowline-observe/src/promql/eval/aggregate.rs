//! Makes groups of series one, or fewer.

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::promql) enum Reduce {
    Sum,
}

impl Reduce {
    /// The aggregation of that name.
    pub(in crate::promql) fn of(word: &str) -> Option<Self> {
        Some(match word {
            "sum" => Self::Sum,
            _ => return None,
        })
    }
}
