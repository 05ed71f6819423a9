//! Documents of configuration that a system brings along: `[config."NAMESPACE/NAME"]`.

use super::{CONFIGS_MAX, schema, table::Table, value::Value};
use crate::{name::ConfigKey, system::ConfigDeclaration};

/// The longest path of a file, in bytes.
const PATH_LENGTH_MAX: usize = 1024;

pub(super) fn read_all(value: Value<'_>) -> Vec<ConfigDeclaration> {
    value.entries(&schema::CONFIG_ENTRY, CONFIGS_MAX).into_iter().filter_map(declaration).collect()
}

fn declaration(entry: Value<'_>) -> Option<ConfigDeclaration> {
    if !entry.key().contains('/') {
        // A dot where the slash belongs: what stands below is no key of ours, and told with this.
        let message = format!("{} is not a key of configuration", entry.key_quoted());
        entry.fault_key(message, "write namespace and name in quotes: `[config.\"shop/order\"]`");
        return None;
    }
    let key = key(entry);
    let table = entry.table(&schema::CONFIG)?;
    let document = file(&table, "document", document_path);
    let schema = file(&table, "schema", schema_path);
    if !table.has("document") && !table.has("schema") {
        entry.fault_key(
            format!("{} has neither `document` nor `schema`", entry.key_quoted()),
            "name a file: `document = \"config/order.toml\"`",
        );
    }
    Some(ConfigDeclaration { key: key?, position: entry.key_position(), document, schema })
}

fn key(entry: Value<'_>) -> Option<ConfigKey> {
    let key = ConfigKey::new(entry.key()).map_err(|invalid| {
        entry.fault_key(format!("{} is not a key of configuration", entry.key_quoted()), invalid.rule);
    });
    let key = key.ok()?;
    if key.is_reserved() {
        let message = format!("the namespace `{}` is Bowline's own", key.namespace());
        entry.fault_key(message, "use another; routes are written as `[[route]]` of this file");
        return None;
    }
    Some(key)
}

fn file(table: &Table<'_>, name: &'static str, parse: fn(&str) -> Result<String, &'static str>) -> Option<String> {
    table.get(name)?.parsed("a file of the system", parse)
}

fn document_path(text: &str) -> Result<String, &'static str> {
    let path = relative(text)?;
    if [".toml", ".json", ".txt"].iter().any(|end| has_extension(text, end)) {
        Ok(path)
    } else {
        Err("its name ends in .toml, .json or .txt, which says what it is")
    }
}

fn schema_path(text: &str) -> Result<String, &'static str> {
    let path = relative(text)?;
    if has_extension(text, ".json") { Ok(path) } else { Err("a JSON Schema's name ends in .json") }
}

fn has_extension(path: &str, end: &str) -> bool {
    path.rsplit('/').next().and_then(|name| name.strip_suffix(end)).is_some_and(|stem| !stem.is_empty())
}

/// A path below the folder of the file.
pub(super) fn relative(text: &str) -> Result<String, &'static str> {
    let is_plain = !text.is_empty() && !text.contains('\\') && !text.chars().any(char::is_control);
    if !is_plain || text.len() > PATH_LENGTH_MAX {
        return Err("write a path of 1 to 1024 characters with / between folders: \"config/order.toml\"");
    }
    if text.starts_with('/') || text.split('/').any(|part| part == "..") {
        return Err("write a path below the folder of this file, without ..: \"config/order.toml\"");
    }
    Ok(text.to_owned())
}
