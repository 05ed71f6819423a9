//! What a gateway serves by: the listener, the ways to tell who calls, the routes; and limits.

use std::collections::BTreeMap;

use super::{
    AUTHS_MAX, auth,
    references::{Names, Side},
    route, schema,
    table::Table,
    value::{Value, in_ticks},
};
use crate::{
    gateway::{
        BURST_MAX, LIMIT_REFILL_MAX, LimitBy, LimitPolicy, ListenerPolicy, Quota, RouteTable, Window, is_own_header,
    },
    name::ServiceName,
    system::RouteSite,
    units::{self, Rate},
};

/// What the listener and the routes may name.
#[derive(Debug)]
pub(super) struct Declared<'a> {
    pub(super) services: Names<'a>,
    auths: Names<'a>,
    /// Whether the listener tells who calls, before any route.
    is_listener_authenticated: bool,
}

/// `[gateway]`, `[auth.X]` and `[[route]]` of a file that has them at its root; and where the routes are, by their
/// names.
pub(super) fn table<'a>(root: &Table<'a>, services: Names<'a>) -> (RouteTable, BTreeMap<String, RouteSite>) {
    let entries = root.get("auth").map(|value| value.entries(&schema::AUTH_ENTRY, AUTHS_MAX)).unwrap_or_default();
    let auth = auth::read_all(&entries, &services);
    let mut declared =
        Declared { services, auths: Names::declared("auth", &entries), is_listener_authenticated: false };
    let listener = root.get("gateway").and_then(|value| value.table(&schema::GATEWAY));
    let listener = listener.map(|table| {
        let policy = ListenerPolicy { auth: declared.auth(&table), limit: declared.limit(&table) };
        declared.is_listener_authenticated = table.has("auth");
        policy
    });
    let (routes, sites) = root.get("route").map(|value| route::read_all(value, &declared)).unwrap_or_default();
    (RouteTable { listener: listener.unwrap_or_default(), auth, routes }, sites)
}

impl Declared<'_> {
    /// The `auth` of a route or of the listener.
    pub(super) fn auth(&self, table: &Table<'_>) -> Option<ServiceName> {
        let value = table.get("auth")?;
        let name = value.label()?;
        self.auths.check(name.as_str(), value, Side::Value);
        Some(name)
    }

    /// The `limit` of a route or of the listener.
    pub(super) fn limit(&self, table: &Table<'_>) -> Option<LimitPolicy> {
        let value = table.get("limit")?;
        let has_subject = self.is_listener_authenticated || table.has("auth");
        limit(&value.table(&schema::LIMIT)?, has_subject)
    }
}

fn limit(table: &Table<'_>, has_subject: bool) -> Option<LimitPolicy> {
    let by = table.need("by").and_then(|value| limit_by(value, has_subject));
    let quota = if let Some(value) = table.get("window") { window(value, table) } else { pace(table) };
    Some(LimitPolicy { by: by?, quota: quota? })
}

fn pace(table: &Table<'_>) -> Option<Quota> {
    let rate = table.need("rate").and_then(|value| value.parsed("a rate", Rate::parse));
    let burst = table.need("burst").and_then(|value| burst(value, rate));
    Some(Quota::Pace { rate: rate?, burst: burst? })
}

/// A window says all: a pace beside it would be another limit, and a burst is what it is there to prevent.
fn window(value: Value<'_>, table: &Table<'_>) -> Option<Quota> {
    for other in [table.get("rate"), table.get("burst")].into_iter().flatten() {
        let help = "keep `window` for so many in any time, or `rate` and `burst` for an even pace";
        other.fault_key(format!("{} beside `window`", other.key_quoted()), help);
    }
    value.parsed("a window", Window::parse).map(Quota::Window)
}

fn limit_by(value: Value<'_>, has_subject: bool) -> Option<LimitBy> {
    let by = value.parsed("what a limit counts by", LimitBy::parse)?;
    match &by {
        LimitBy::Subject if !has_subject => value.refuse(
            "a limit by subject without `auth`",
            "add `auth`, so that subjects are known, or limit by \"address\"",
        ),
        LimitBy::Header(name) if is_own_header(name) => value.refuse(
            format!("{} is never a client's own", in_ticks(name)),
            "limit by \"subject\", \"address\" or another header",
        ),
        LimitBy::Address | LimitBy::Subject | LimitBy::Header(_) => Some(by),
    }
}

/// At least one, and no more than are refilled in a time that anybody waits.
fn burst(value: Value<'_>, rate: Option<Rate>) -> Option<u32> {
    let burst = value.integer(1..=BURST_MAX)?;
    let Some(rate) = rate else { return Some(burst) };
    let refill = rate.interval().saturating_mul(burst);
    if refill > LIMIT_REFILL_MAX {
        let max = LIMIT_REFILL_MAX.as_nanos() / rate.interval().as_nanos();
        let (refill, longest) = (units::format_duration(refill), units::format_duration(LIMIT_REFILL_MAX));
        let message = format!("`burst` ({burst}) takes {refill} to refill at {rate}, longer than {longest}");
        return value.refuse(message, format!("write {max} or less, or raise `rate`"));
    }
    Some(burst)
}
