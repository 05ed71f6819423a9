//! What becomes of who breaks a boundary: `[boundary]`.

use super::{schema, value::Value};
use crate::system::{AMPLIFICATION_RANGE, BoundaryPolicy, Enforce};

/// What the table says.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) policy: BoundaryPolicy,
    /// How much is let pass, where that is written: what `[mesh]` says must not contradict it.
    pub(super) written: Option<Enforce>,
}

/// The policy of the table; what is not said is [`BoundaryPolicy::default`]'s.
pub(super) fn read(value: Value<'_>) -> Read {
    let default = BoundaryPolicy::default();
    let Some(table) = value.table(&schema::BOUNDARIES) else { return Read::default() };
    let written = table.get("enforce").and_then(|value| value.choice(&Enforce::NAMES, &[]));
    let policy = BoundaryPolicy {
        enforce: written.unwrap_or(default.enforce),
        amplification_max: table.integer_or("amplification_max", AMPLIFICATION_RANGE, default.amplification_max),
    };
    Read { policy, written }
}
