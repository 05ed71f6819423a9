//! What a span does with data and topics.

use bowline_model::observed::{ObservedUse, TOPIC};
use bowline_telemetry::{SpanData, SpanKind};

use crate::attributes;

/// What SQL changes something with.
const WRITES: [&str; 11] =
    ["insert", "update", "delete", "replace", "merge", "upsert", "create", "alter", "drop", "truncate", "copy"];
/// What messaging calls the operations that write a topic.
const SENDS: [&str; 3] = ["send", "publish", "create"];

/// Of a span, where it is one of a database's client or of a topic's.
pub(super) fn of(span: &SpanData) -> Option<ObservedUse> {
    data(span).or_else(|| topic(span))
}

fn data(span: &SpanData) -> Option<ObservedUse> {
    let database = attributes::database(span).filter(|_| !attributes::is_answer(span.kind))?;
    let name = file_name(&database.system, database.namespace?);
    if name == ":memory:" || name.is_empty() {
        return None;
    }
    let table = attributes::text(span, "db.collection.name").or_else(|| attributes::text(span, "db.sql.table"));
    let operation = attributes::text(span, "db.operation.name").or_else(|| attributes::text(span, "db.operation"));
    let is_written =
        operation.is_some_and(|operation| WRITES.iter().any(|write| write.eq_ignore_ascii_case(&operation)));
    Some(new(span, database.system, name, table.map(|table| without_schema(&table)), is_written))
}

fn topic(span: &SpanData) -> Option<ObservedUse> {
    let name = attributes::text(span, attributes::MESSAGING_DESTINATION)?;
    let operation = || {
        let keys = ["messaging.operation.type", "messaging.operation"];
        keys.iter().find_map(|key| attributes::text(span, key))
    };
    let is_written = match span.kind {
        SpanKind::Producer => true,
        SpanKind::Client => operation().is_some_and(|operation| SENDS.contains(&&*operation)),
        SpanKind::Internal | SpanKind::Server | SpanKind::Consumer => false,
    };
    Some(new(span, TOPIC.to_owned(), name, None, is_written))
}

fn new(span: &SpanData, kind: String, name: String, table: Option<String>, is_written: bool) -> ObservedUse {
    let (service, sample) = (span.service.as_ref().to_owned(), span.trace_id.to_string());
    ObservedUse { service, kind, name, table, is_written, count: 1, sample }
}

/// A resource is named by its file; SDKs that know the path alone say that.
fn file_name(system: &str, namespace: String) -> String {
    match namespace.rsplit_once('/') {
        Some((_, name)) if system == "sqlite" => name.to_owned(),
        _ => namespace,
    }
}

fn without_schema(table: &str) -> String {
    let name = table.rsplit_once('.').map_or(table, |(_, name)| name);
    name.trim_matches(['"', '`', '[', ']']).to_lowercase()
}
