//! The parts of a policy that are off unless they are written: outliers, hedging, bulkhead, fallback; and the balance.

use super::{Timeout, above_zero, within};
use crate::{
    parse::{
        schema,
        table::Table,
        value::{Value, once},
    },
    policy::{
        BODILESS, Balance, BalancePolicy, BulkheadPolicy, CALLS_MIN_MAX, CLASSES_MAX, CONCURRENCY_MAX, Class,
        Concurrency, Deviations, FALLBACK_BODY_MAX, FallbackPolicy, HEDGED_MAX, HashKey, HedgePolicy,
        INSTANCES_MIN_MAX, OpenFor, OutcomePolicy, OutlierPolicy, SUBSET_MAX, ShedPolicy, Zones, is_media_type,
    },
    units,
};

/// The name of a strategy, or a table that says more.
pub(super) fn balance(value: Value<'_>) -> Option<BalancePolicy> {
    if value.is_text() {
        let by = value.choice(&Balance::NAMES, &[])?;
        if by.hashes() {
            let help = format!("write `balance = {{ by = \"{}\", key = \"header:x-user\" }}`", by.name());
            return value.refuse(format!("`balance` (\"{}\") without a key to hash", by.name()), help);
        }
        return Some(by.into());
    }
    let table = value.table(&schema::BALANCE_TABLE)?;
    let default = BalancePolicy::default();
    let by = table.get("by").map_or(Some(default.by), |by| by.choice(&Balance::NAMES, &[]))?;
    let key = table.get("key").and_then(|key| key.parsed("a key", HashKey::parse));
    if by.hashes() && !table.has("key") {
        table.fault(format!("\"{}\" without a key to hash", by.name()), "add `key = \"header:x-user\"`");
    }
    if let Some(key) = table.get("key").filter(|_| !by.hashes()) {
        key.fault(format!("`key` says nothing to \"{}\"", by.name()), "remove it, or write `by = \"ring\"`");
    }
    if let Some(headroom) = table.get("headroom").filter(|_| by != Balance::Ring) {
        headroom.fault(format!("`headroom` says nothing to \"{}\"", by.name()), "remove it, or write `by = \"ring\"`");
    }
    Some(BalancePolicy {
        by,
        key,
        headroom: table.get("headroom").and_then(above_zero),
        subset: table.get("subset").and_then(|subset| subset.integer(1..=SUBSET_MAX)),
        slow_start: table.get("slow_start").and_then(Value::duration),
        zones: table.get("zones").and_then(|zones| zones.choice(&Zones::NAMES, &[])).unwrap_or(default.zones),
        panic_below: table.get("panic_below").and_then(Value::share).unwrap_or(default.panic_below),
    })
}

pub(super) fn outcome(table: &Table<'_>) -> OutcomePolicy {
    OutcomePolicy {
        failures: classes(table, "failures").unwrap_or_else(|| OutcomePolicy::default().failures),
        ignored: classes(table, "ignored").unwrap_or_default(),
    }
}

/// A list of classes of answers.
pub(super) fn classes(table: &Table<'_>, name: &'static str) -> Option<Vec<Class>> {
    let list = table.get(name)?;
    let mut classes = Vec::new();
    for element in list.list(CLASSES_MAX) {
        if let Some(class) = element.parsed("a class of answers", Class::parse) {
            once(element, class, &mut classes);
        }
    }
    Some(classes)
}

pub(super) fn outlier(table: &Table<'_>) -> OutlierPolicy {
    let default = OutlierPolicy::default();
    let outlier = OutlierPolicy {
        consecutive: table
            .get("consecutive")
            .map_or(default.consecutive, |value| unless_off(value, |value| value.integer(1..=CALLS_MIN_MAX))),
        interval: table.duration_or("interval", default.interval),
        failure_rate: table.get("failure_rate").map_or(default.failure_rate, |value| unless_off(value, above_zero)),
        deviations: table.get("deviations").map_or(default.deviations, |value| {
            unless_off(value, |value| value.parsed("a number of deviations", Deviations::parse))
        }),
        calls_min: table.integer_or("calls_min", 1..=CALLS_MIN_MAX, default.calls_min),
        instances_min: table.integer_or("instances_min", 1..=INSTANCES_MIN_MAX, default.instances_min),
        eject_for: table
            .get("eject_for")
            .and_then(|value| value.parsed("a time of being ejected", OpenFor::parse))
            .unwrap_or(default.eject_for),
        ejected_max: table.get("ejected_max").and_then(above_zero).unwrap_or(default.ejected_max),
    };
    if ["consecutive", "failure_rate", "deviations"].iter().all(|name| is_off(table, name)) {
        table.fault("an outlier that judges by nothing", "remove `outlier`, or one of the three that are \"off\"");
    }
    outlier
}

fn is_off(table: &Table<'_>, name: &'static str) -> bool {
    table.get(name).is_some_and(Value::is_off)
}

/// Nothing where it says `"off"`.
fn unless_off<'a, T>(value: Value<'a>, read: impl FnOnce(Value<'a>) -> Option<T>) -> Option<T> {
    if value.is_off() { None } else { read(value) }
}

pub(super) fn hedge(table: &Table<'_>, timeout: Timeout) -> HedgePolicy {
    let default = HedgePolicy::default();
    HedgePolicy {
        after: table
            .get("after")
            .and_then(|value| within(value, timeout))
            .unwrap_or_else(|| timeout.known.map_or(default.after, |known| known.min(default.after))),
        attempts_max: table.integer_or("attempts_max", 2..=HEDGED_MAX, default.attempts_max),
        budget: table.get("budget").and_then(Value::share).unwrap_or(default.budget),
    }
}

/// Without a number of calls it would be none.
pub(super) fn bulkhead(table: &Table<'_>, timeout: Timeout) -> Option<BulkheadPolicy> {
    let calls_max = table.need("calls_max").and_then(concurrency);
    let queue_max = table.integer_or("queue_max", 0..=CONCURRENCY_MAX, 0);
    let queue_timeout = table.get("queue_timeout").and_then(|value| within(value, timeout));
    if let Some(value) = table.get("queue_timeout").filter(|_| queue_max == 0) {
        value.fault("`queue_timeout` says nothing where nobody waits", "add `queue_max = 100`, or remove it");
    }
    if queue_max > 0 && !table.has("queue_timeout") {
        table.fault("`queue_max` without how long one waits", "add `queue_timeout = \"100ms\"`");
    }
    Some(BulkheadPolicy { calls_max: calls_max?, queue_max, queue_timeout: queue_timeout.unwrap_or_default() })
}

/// A number, or a range as text.
fn concurrency(value: Value<'_>) -> Option<Concurrency> {
    if value.is_text() {
        return value.parsed("a number of calls", Concurrency::parse);
    }
    value.integer(1..=CONCURRENCY_MAX).map(Concurrency::exactly)
}

pub(super) fn fallback(table: &Table<'_>) -> FallbackPolicy {
    let default = FallbackPolicy::default();
    let status = table
        .get("status")
        .and_then(|value| value.integer(200..=599))
        .and_then(|status| u16::try_from(status).ok())
        .unwrap_or(default.status);
    if let Some(body) = table.get("body").filter(|_| BODILESS.contains(&status)) {
        body.fault("an answer of that status has no body", "remove `body`, or write another `status`");
    }
    FallbackPolicy {
        status,
        body: table.get("body").and_then(|value| value.parsed("a body", body)).unwrap_or(default.body),
        content_type: table
            .get("content_type")
            .and_then(|value| value.parsed("a content type", content_type))
            .unwrap_or(default.content_type),
    }
}

fn body(text: &str) -> Result<String, &'static str> {
    if text.len() <= FALLBACK_BODY_MAX { Ok(text.to_owned()) } else { Err("write 16 KiB at most") }
}

fn content_type(text: &str) -> Result<String, &'static str> {
    if is_media_type(text) { Ok(text.to_owned()) } else { Err("write a media type: \"application/json\"") }
}

/// What a service sheds of what comes in.
pub(in crate::parse) fn shed(table: &Table<'_>) -> ShedPolicy {
    let default = ShedPolicy::default();
    let delay_target = table.duration_or("delay_target", default.delay_target);
    let interval = table.duration_or("interval", default.interval);
    if interval <= delay_target {
        let (interval, target) = (units::format_duration(interval), units::format_duration(delay_target));
        let message = format!("`interval` ({interval}) is not above `delay_target` ({target})");
        table.fault(message, "write an interval of some times the target: `interval = \"100ms\"`");
    }
    ShedPolicy {
        calls_max: table.get("calls_max").and_then(concurrency).unwrap_or(default.calls_max),
        queue_max: table.integer_or("queue_max", 0..=CONCURRENCY_MAX, default.queue_max),
        delay_target,
        interval,
    }
}
