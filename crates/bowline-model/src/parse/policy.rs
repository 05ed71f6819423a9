//! The policy of a call or a route.

mod parts;

use std::time::Duration;

use super::{
    schema::{self, Schema},
    table::Table,
    value::Value,
};
use crate::{
    policy::{
        ATTEMPTS_MAX, Backoff, BreakerPolicy, BreakerScope, CALLS_MIN_MAX, CallPolicy, OpenFor, PROBES_MAX, Repeat,
        RetryPolicy, Window,
    },
    units,
};

pub(super) use self::parts::shed;

/// The timeout that the other parts are held against; unknown where it is faulty itself.
#[derive(Debug, Clone, Copy)]
struct Timeout {
    known: Option<Duration>,
    is_default: bool,
}

/// The policy in a call's or a route's table; what is not said is [`CallPolicy::default`]'s.
pub(super) fn read(table: &Table<'_>) -> CallPolicy {
    let default = CallPolicy::default();
    let timeout = match table.get("timeout") {
        Some(value) => Timeout { known: value.duration(), is_default: false },
        None => Timeout { known: Some(default.timeout), is_default: true },
    };
    CallPolicy {
        timeout: timeout.known.unwrap_or(default.timeout),
        retry: part(table.get("retry"), &schema::RETRY, |table| retry(table, timeout)),
        breaker: part(table.get("breaker"), &schema::BREAKER, |table| breaker(table, timeout)),
        balance: table.get("balance").and_then(parts::balance).unwrap_or(default.balance),
        outcome: table
            .get("outcome")
            .and_then(|value| value.table(&schema::OUTCOME))
            .map_or(default.outcome, |table| parts::outcome(&table)),
        outlier: optional(table.get("outlier"), &schema::OUTLIER, |table| Some(parts::outlier(table))),
        hedge: optional(table.get("hedge"), &schema::HEDGE, |table| Some(parts::hedge(table, timeout))),
        bulkhead: optional(table.get("bulkhead"), &schema::BULKHEAD, |table| parts::bulkhead(table, timeout)),
        fallback: optional(table.get("fallback"), &schema::FALLBACK, |table| Some(parts::fallback(table))),
    }
}

/// A part that is on unless told `"off"`; its table changes the default in what it says.
fn part<T: Default>(
    value: Option<Value<'_>>,
    schema: &'static Schema,
    read: impl FnOnce(&Table<'_>) -> T,
) -> Option<T> {
    if value.is_none() { Some(T::default()) } else { optional(value, schema, |table| Some(read(table))) }
}

/// A part that is off unless its table is there.
pub(super) fn optional<T>(
    value: Option<Value<'_>>,
    schema: &'static Schema,
    read: impl FnOnce(&Table<'_>) -> Option<T>,
) -> Option<T> {
    let value = value?;
    if !value.is_text() {
        return value.table(schema).and_then(|table| read(&table));
    }
    let text = value.text()?;
    if text != "off" {
        let message = format!("{} is neither a table nor \"off\"", value.quoted_with(text));
        value.fault(message, "write \"off\", a table, or leave the key out for the default");
    }
    None
}

fn retry(table: &Table<'_>, timeout: Timeout) -> RetryPolicy {
    let default = RetryPolicy::default();
    RetryPolicy {
        attempts_max: table.integer_or("attempts_max", 1..=ATTEMPTS_MAX, default.attempts_max),
        backoff: table
            .get("backoff")
            .and_then(|value| value.parsed("a backoff", Backoff::parse))
            .unwrap_or(default.backoff),
        budget: table.get("budget").and_then(Value::share).unwrap_or(default.budget),
        per_try_timeout: table.get("per_try_timeout").and_then(|value| within(value, timeout)),
        on: parts::classes(table, "on").unwrap_or(default.on),
        repeat: table.get("repeat").and_then(|value| value.choice(&Repeat::NAMES, &[])).unwrap_or(default.repeat),
    }
}

fn breaker(table: &Table<'_>, timeout: Timeout) -> BreakerPolicy {
    let default = BreakerPolicy::default();
    let slow_call = table.get("slow_call").and_then(|value| within(value, timeout));
    let slow_rate = table.get("slow_rate").and_then(|value| {
        if table.get("slow_call").is_none() {
            return value.refuse("`slow_rate` says nothing without `slow_call`", "add `slow_call = \"300ms\"`");
        }
        above_zero(value)
    });
    let calls_min = table.integer_or("calls_min", 1..=CALLS_MIN_MAX, default.calls_min);
    let window = table.get("window").and_then(|value| {
        let window = value.parsed("a window", Window::parse)?;
        match window {
            Window::Calls(calls) if calls < calls_min => value.refuse(
                format!("`window` ({window}) never holds `calls_min` ({calls_min}) calls"),
                format!("write `window = \"{calls_min} calls\"` or more, or lower `calls_min`"),
            ),
            window => Some(window),
        }
    });
    BreakerPolicy {
        failure_rate: table.get("failure_rate").and_then(above_zero).unwrap_or(default.failure_rate),
        slow_call,
        slow_rate,
        consecutive: table.get("consecutive").and_then(|value| value.integer(1..=CALLS_MIN_MAX)),
        window: window.unwrap_or(default.window),
        calls_min,
        open_for: table
            .get("open_for")
            .and_then(|value| value.parsed("an open time", OpenFor::parse))
            .unwrap_or(default.open_for),
        probes_max: table.integer_or("probes_max", 1..=PROBES_MAX, default.probes_max),
        per: table
            .get("per")
            .and_then(|value| value.parsed("whose calls are counted together", BreakerScope::parse))
            .unwrap_or(default.per),
    }
}

fn above_zero(value: Value<'_>) -> Option<units::Share> {
    let rate = value.share()?;
    if rate == units::Share::ZERO {
        return value.refuse(format!("{} (0%) must be above zero", value.key_quoted()), value.like_this());
    }
    Some(rate)
}

/// A duration that the timeout would make pointless if it were longer.
fn within(value: Value<'_>, timeout: Timeout) -> Option<Duration> {
    let duration = value.duration()?;
    let Some(limit) = timeout.known.filter(|limit| duration > *limit) else { return Some(duration) };
    let (duration, limit) = (units::format_duration(duration), units::format_duration(limit));
    let which = if timeout.is_default { "the default `timeout`" } else { "`timeout`" };
    let message = format!("{} ({duration}) is above {which} ({limit})", value.key_quoted());
    value.refuse(message, format!("write {limit} or less, or raise `timeout`"))
}
