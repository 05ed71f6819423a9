//! What the mesh of a system demands: `[mesh]`.

use std::time::Duration;

use super::{schema, value::Value};
use crate::{
    mesh::{Authorization, CERTIFICATE_TTL_RANGE, MeshPolicy, Mode},
    units,
};

/// The policy of the table; what is not said is [`MeshPolicy::default`]'s.
pub(super) fn read(value: Value<'_>) -> MeshPolicy {
    let default = MeshPolicy::default();
    let Some(table) = value.table(&schema::MESH) else { return default };
    MeshPolicy {
        mode: table.get("mode").and_then(|value| value.choice(&Mode::NAMES, &[])).unwrap_or_default(),
        authorization: table
            .get("authorization")
            .and_then(|value| value.choice(&Authorization::NAMES, &[]))
            .unwrap_or_default(),
        certificate_ttl: table.get("certificate_ttl").and_then(certificate_ttl).unwrap_or(default.certificate_ttl),
    }
}

fn certificate_ttl(value: Value<'_>) -> Option<Duration> {
    let ttl = value.parsed("a duration", units::parse_duration)?;
    let (least, most) = CERTIFICATE_TTL_RANGE;
    if (least..=most).contains(&ttl) {
        return Some(ttl);
    }
    let message = format!("{} ({}) is out of range", value.key_quoted(), units::format_duration(ttl));
    let (least, most) = (units::format_duration(least), units::format_duration(most));
    value.refuse(message, format!("write a duration from {least} to {most}"))
}
