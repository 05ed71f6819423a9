//! `Services(S)` and `Communication(S)`: what each service runs, owns and calls.

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::{
    SERVICES_MAX,
    boundary::{self, RESOURCE_LENGTH_MAX},
    listen, monitor, policy, schema,
    table::Table,
    value::{LIST_MAX, Value, in_ticks, is_word, once_by},
    version, web,
};
use crate::{
    messages,
    monitor::MetricsPath,
    system::{Bind, Call, CallMode, Check, Operation, Outbound, REPLICAS_MAX, Resource, Service},
};

/// How many checks in a row may be asked for before a verdict changes.
const CHECKS_RANGE: RangeInclusive<u32> = 1..=100;

/// Variables that Bowline sets for every instance; a file that sets them would be overruled.
pub(super) const ENV_RESERVED: [&str; 17] = [
    "BOWLINE_ASYNC_CALLS",
    "BOWLINE_CACHES",
    "BOWLINE_REDIS",
    "BOWLINE_REDIS_TOKEN",
    "BOWLINE_SERVICE",
    "BOWLINE_INSTANCE",
    "BOWLINE_VERSION",
    "BOWLINE_SYSTEM",
    "BOWLINE_JOIN",
    "BOWLINE_LISTEN",
    "BOWLINE_API",
    "BOWLINE_TOKEN",
    "BOWLINE_DATA_DIR",
    "BOWLINE_SUPERVISED",
    "BOWLINE_CALLS",
    "BOWLINE_TREE",
    "PORT",
];

/// The beginnings of the variables that hold connection strings, where a sidecar takes each call, and where a service
/// listens for what is not HTTP.
const ENV_RESERVED_PREFIXES: [&str; 3] = ["BOWLINE_DATA_", "BOWLINE_CALL_", "BOWLINE_LISTEN_"];

/// The services; `told` are the kinds of data that Bowline says the connection strings of.
pub(super) fn read_all(entries: &[Value<'_>], told: &[&str]) -> Vec<Service> {
    let mut taken = listen::Taken::default();
    entries.iter().filter_map(|entry| service(*entry, told, &mut taken)).collect()
}

fn service<'a>(entry: Value<'a>, told: &[&str], taken: &mut listen::Taken<'a>) -> Option<Service> {
    let name = entry.key_label();
    let table = entry.table(&schema::SERVICE)?;
    let build = table.get("build").and_then(command);
    let run = table.get("run").and_then(command);
    let (version, versions) = version::read(&table);
    let calls = table.get("calls").map(|value| calls(value, entry.key())).unwrap_or_default();
    let replicas = replicas(&table, table.get("run").is_some());
    let listen = taken.read(&table, entry.key(), replicas);
    let service = Service {
        name: name?,
        position: entry.key_position(),
        replicas,
        check: table.get("check").map(check).unwrap_or_default(),
        env: table.get("env").map(env).unwrap_or_default(),
        boundary: table.get("boundary").map(|value| boundary::read(value, told)).unwrap_or_default(),
        outbound: outbound(&table, &calls),
        calls,
        bind: table.get("bind").and_then(|value| value.choice(&Bind::NAMES, &[])).unwrap_or_default(),
        listen,
        metrics: table.get("metrics").and_then(metrics).unwrap_or_default(),
        shed: policy::optional(table.get("shed"), &schema::SHED, |table| Some(policy::shed(table))),
        version,
        versions,
        build,
        run,
    };
    Some(service)
}

/// Who makes its calls: what hands requests over is an application that links `bowline`.
fn outbound(table: &Table<'_>, calls: &[Call]) -> Outbound {
    let hands_over = calls.iter().any(|call| call.mode == CallMode::Async);
    let Some(value) = table.get("outbound") else {
        return if hands_over { Outbound::Application } else { Outbound::default() };
    };
    let outbound = value.choice(&Outbound::NAMES, &[]).unwrap_or_default();
    if hands_over && outbound == Outbound::Sidecar {
        let message = "`outbound = \"sidecar\"` of a service with an async call";
        value.fault(message, "remove it: requests are handed over by the application, which links `bowline`");
    }
    outbound
}

/// A path, or that there is none.
fn metrics(value: Value<'_>) -> Option<MetricsPath> {
    if value.is_off() {
        return Some(MetricsPath::Off);
    }
    value.parsed("a path, or \"off\"", monitor::metrics_path).map(MetricsPath::At)
}

/// A shell command.
pub(super) fn command(value: Value<'_>) -> Option<String> {
    value.parsed("a command", |text| check_command(text).map(|()| text.to_owned()))
}

/// Checks that a text can be a shell command.
pub(crate) fn check_command(text: &str) -> Result<(), &'static str> {
    match text {
        _ if text.trim().is_empty() => Err("write a shell command, or leave the key out"),
        _ if text.contains('\0') => Err("a command holds no NUL"),
        _ => Ok(()),
    }
}

/// One where there is something to run; without it the instances register themselves.
pub(super) fn replicas(table: &Table<'_>, has_run: bool) -> u32 {
    let Some(value) = table.get("replicas") else { return u32::from(has_run) };
    let count = value.integer(0..=REPLICAS_MAX).unwrap_or_default();
    if count > 0 && !has_run {
        value.fault(format!("`replicas` ({count}) without `run`"), "write what to `run`, or remove `replicas`");
    }
    count
}

fn check(value: Value<'_>) -> Check {
    let default = Check::default();
    let Some(table) = value.table(&schema::CHECK) else { return default };
    Check {
        http: table.get("http").and_then(|value| value.parsed("a path", check_path)).unwrap_or(default.http),
        every: table.duration_or("every", default.every),
        timeout: table.duration_or("timeout", default.timeout),
        healthy_after: table.integer_or("healthy_after", CHECKS_RANGE, default.healthy_after),
        unhealthy_after: table.integer_or("unhealthy_after", CHECKS_RANGE, default.unhealthy_after),
    }
}

fn check_path(text: &str) -> Result<String, &'static str> {
    web::path(text, "begin it with a slash: \"/readyz\"")
}

pub(super) fn env(value: Value<'_>) -> BTreeMap<String, String> {
    let entries = value.entries(&schema::ENV_ENTRY, LIST_MAX);
    entries.into_iter().filter_map(|entry| variable_name(entry).zip(variable_value(entry))).collect()
}

/// What a variable's name is made of.
const VARIABLE_RULE: &str = "use letters, digits and _, no digit first";

fn is_reserved(name: &str) -> bool {
    ENV_RESERVED.contains(&name) || ENV_RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Checks that a variable of this name can be set by whoever declares a service.
pub(crate) fn check_variable(name: &str) -> Result<(), &'static str> {
    match name {
        _ if !is_word(name) => Err(VARIABLE_RULE),
        _ if is_reserved(name) => Err("Bowline sets it itself"),
        _ => Ok(()),
    }
}

fn variable_name(entry: Value<'_>) -> Option<String> {
    let name = entry.key();
    if !is_word(name) {
        entry.fault_key(format!("{} is not the name of a variable", entry.key_quoted()), VARIABLE_RULE);
        return None;
    }
    if is_reserved(name) {
        entry.fault_key(
            format!("{} is set by Bowline itself", entry.key_quoted()),
            "remove it, or give it another name",
        );
        return None;
    }
    Some(name.to_owned())
}

fn variable_value(entry: Value<'_>) -> Option<String> {
    let text = entry.text()?;
    if text.contains('\0') {
        return entry.refuse(format!("{} holds a NUL", entry.key_quoted()), "no variable can: remove it");
    }
    Some(text.to_owned())
}

/// `Communication(S)`: the edges from one service, each with its policy.
fn calls(value: Value<'_>, caller: &str) -> Vec<Call> {
    let entries = value.entries(&schema::CALL_ENTRY, SERVICES_MAX);
    entries.into_iter().filter_map(|entry| call(entry, caller)).collect()
}

fn call(entry: Value<'_>, caller: &str) -> Option<Call> {
    let target = entry.key_label();
    if entry.key() == caller {
        let message = format!("{} calls itself", in_ticks(caller));
        entry.fault_key(message, "remove it: what a service does itself is no call");
    }
    let table = entry.table(&schema::CALL)?;
    let mode = table.get("mode").and_then(|value| value.choice(&CallMode::NAMES, &[])).unwrap_or_default();
    if mode == CallMode::Async && messages::calls_topic(caller, entry.key()).len() > RESOURCE_LENGTH_MAX {
        let message =
            format!("{} and {} are too long together for an async call", in_ticks(caller), entry.key_quoted());
        entry.fault_key(message, "give one of the services a shorter name: 121 bytes together at most");
    }
    if let Some(fallback) = table.get("fallback").filter(|_| mode == CallMode::Async) {
        let message = "`fallback` of a call that is handed over";
        fallback.fault(message, "remove it: it is tried until it was carried out, and answered by nothing else");
    }
    Some(Call {
        mode,
        policy: policy::read(&table),
        timeout_position: table.get("timeout").map(Value::position),
        operations: operations(&table),
        topics: topics(&table, mode),
        ..Call::new(target?, entry.key_position())
    })
}

/// Through which topics its messages pass: where it is one by message, or beside what it waits for.
fn topics(table: &Table<'_>, mode: CallMode) -> Vec<Resource> {
    let mut topics: Vec<Resource> = Vec::new();
    for value in table.list("topics") {
        let Some(topic) = boundary::topic(value) else { continue };
        once_by(value, topic, &mut topics, |one, other| one.name == other.name);
    }
    match table.get("topics") {
        Some(value) if mode == CallMode::Async => {
            value.fault_key("`topics` of a call that is handed over", "write `mode = \"message\"`, or remove them");
        }
        Some(value) if value.is_list_empty() => value.fault("`topics` is empty", "name the topic that messages go to"),
        None if mode == CallMode::Message => {
            table.fault("a call by message without `topics`", "write `topics = [\"order.placed\"]`");
        }
        Some(_) | None => {}
    }
    topics
}

/// What of the target's `api` the call is made for.
fn operations(table: &Table<'_>) -> Vec<Operation> {
    let mut operations: Vec<Operation> = Vec::new();
    for value in table.list("operations") {
        let Some(operation) = boundary::read_operation(value) else { continue };
        once_by(value, operation, &mut operations, |one, other| {
            one.method == other.method && boundary::shape(&one.path) == boundary::shape(&other.path)
        });
    }
    if operations.is_empty()
        && let Some(value) = table.get("operations").filter(|value| value.is_list_empty())
    {
        value.fault("`operations` is empty, which would allow nothing", "name one, or leave the key out for all");
    }
    operations
}
