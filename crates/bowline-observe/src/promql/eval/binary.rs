//! Operators between two operands.

/// Which operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::promql) enum Operator {
    Add,
}

impl Operator {
    /// The operator that is written so.
    pub(in crate::promql) fn of(word: &str) -> Option<Self> {
        Some(match word {
            "+" => Self::Add,
            _ => return None,
        })
    }
}
