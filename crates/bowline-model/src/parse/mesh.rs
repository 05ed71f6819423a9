//! What the mesh of a system demands: `[mesh]`.

use std::time::Duration;

use super::{schema, value::Value};
use crate::{
    mesh::{Authorization, CERTIFICATE_TTL_RANGE, MeshPolicy, Mode},
    system::Enforce,
    units,
};

/// The policy of the table; what is not said is [`MeshPolicy::default`]'s, but for what `[boundary]` says of
/// callers that declare nothing.
pub(super) fn read(value: Value<'_>, enforce: Option<Enforce>) -> MeshPolicy {
    let by_enforce = enforce.map_or_else(Authorization::default, Authorization::from);
    let default = MeshPolicy { authorization: by_enforce, ..MeshPolicy::default() };
    let Some(table) = value.table(&schema::MESH) else { return default };
    let written = table.get("authorization").and_then(|value| authorization(value, enforce));
    MeshPolicy {
        mode: table.get("mode").and_then(|value| value.choice(&Mode::NAMES, &[])).unwrap_or_default(),
        authorization: written.unwrap_or(default.authorization),
        certificate_ttl: table.get("certificate_ttl").and_then(certificate_ttl).unwrap_or(default.certificate_ttl),
    }
}

/// One of the ways, which may repeat what `[boundary]` says and not contradict it.
fn authorization(value: Value<'_>, enforce: Option<Enforce>) -> Option<Authorization> {
    let written = value.choice(&Authorization::NAMES, &[])?;
    let Some(enforce) = enforce else { return Some(written) };
    let meant = Authorization::from(enforce);
    if written == meant {
        return Some(written);
    }
    let (enforce, meant) = (enforce.name(), meant.name());
    let message = value.quoted_with(written.name());
    let message = format!("{message} contradicts `enforce = \"{enforce}\"` of `[boundary]`");
    value.refuse(message, format!("remove it, which means \"{meant}\" then, or change `enforce`"))
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
