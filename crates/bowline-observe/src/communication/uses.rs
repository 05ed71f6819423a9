//! What a span does with data and topics.

use std::path::Path;

use bowline_model::observed::{ObservedUse, TOPIC};
use bowline_telemetry::{SpanData, SpanKind, names};

use crate::attributes;

/// What spans call a database that is a file.
const SQLITE: &str = "sqlite";
/// What SQL changes something with.
const WRITES: [&str; 11] =
    ["insert", "update", "delete", "replace", "merge", "upsert", "create", "alter", "drop", "truncate", "copy"];
/// What messaging calls the operations that write a topic.
const SENDS: [&str; 3] = ["send", "publish", "create"];

/// Of a span, where it is one of a database's client or of a topic's.
pub(super) fn of(span: &SpanData, sqlite_dir: &Path) -> Option<ObservedUse> {
    data(span, sqlite_dir).or_else(|| topic(span))
}

fn data(span: &SpanData, sqlite_dir: &Path) -> Option<ObservedUse> {
    let database = attributes::database(span).filter(|_| !attributes::is_answer(span.kind))?;
    let namespace = database.namespace?;
    let name = if database.system == SQLITE { file(&namespace, sqlite_dir)? } else { namespace };
    let table = attributes::text(span, "db.collection.name").or_else(|| attributes::text(span, "db.sql.table"));
    let operation = attributes::text(span, "db.operation.name").or_else(|| attributes::text(span, "db.operation"));
    let is_written =
        operation.is_some_and(|operation| WRITES.iter().any(|write| write.eq_ignore_ascii_case(&operation)));
    let table = table.map(|table| table_name(&database.system, &table));
    Some(new(span, database.system, name, table, is_written))
}

fn topic(span: &SpanData) -> Option<ObservedUse> {
    let name = attributes::text(span, names::MESSAGING_DESTINATION_NAME)?;
    let operation = || {
        let keys = [names::MESSAGING_OPERATION_TYPE, "messaging.operation"];
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

/// The name of a SQLite database: of one of the system's, its file's as in `bowline.toml`; of another its path, since
/// files of one name in different folders have nothing in common. None where it is no file that others may touch.
fn file(namespace: &str, sqlite_dir: &Path) -> Option<String> {
    let path = Path::new(namespace);
    let name = path.file_name()?.to_str()?;
    let folder = path.parent()?;
    let is_of_system = folder == Path::new("") || folder == Path::new(".") || folder == sqlite_dir;
    let is_file = name != ":memory:" && !namespace.ends_with('/');
    is_file.then(|| if is_of_system { name.to_owned() } else { namespace.to_owned() })
}

/// A table as spans name it, without quotes and in lower case, with its schema where they say one: of what stands
/// before it, the last part. The schema `main` of SQLite is the database itself.
fn table_name(system: &str, table: &str) -> String {
    let bare = |part: &str| part.trim_matches(['"', '`', '[', ']']).to_lowercase();
    let (before, table) = table.rsplit_once('.').map_or((None, table), |(before, table)| (Some(before), table));
    let schema = before.map(|before| bare(before.rsplit_once('.').map_or(before, |(_, schema)| schema)));
    let is_database = |schema: &String| schema.is_empty() || system == SQLITE && schema == "main";
    match schema.filter(|schema| !is_database(schema)) {
        Some(schema) => format!("{schema}.{}", bare(table)),
        None => bare(table),
    }
}
