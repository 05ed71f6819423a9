//! Functions of the samples of a range.

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::promql) enum Over {
    Rate,
}
