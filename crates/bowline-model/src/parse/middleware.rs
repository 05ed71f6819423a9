//! What is done to a route's requests and answers: CORS, request ids, header edits, compression.

use std::collections::BTreeSet;

use super::{
    boundary::read_method,
    schema,
    table::Table,
    value::{LIST_MAX, Value, in_ticks, once},
    web,
};
use crate::gateway::{CORS_MAX_AGE_DEFAULT, CorsPolicy, HeaderEdits, Middleware};

/// The longest value of a header that is set or added, in bytes.
const HEADER_VALUE_LENGTH_MAX: usize = 4096;

/// Every origin, or every header.
const ANY: &str = "*";

pub(super) fn read(route: &Table<'_>) -> Middleware {
    Middleware {
        cors: route.get("cors").and_then(cors),
        request_id: route.is_on("request_id"),
        request_headers: route.get("request_headers").map(edits).unwrap_or_default(),
        response_headers: route.get("response_headers").map(edits).unwrap_or_default(),
        compress: route.is_on("compress"),
    }
}

// === CORS ===

fn cors(value: Value<'_>) -> Option<CorsPolicy> {
    let table = value.table(&schema::CORS)?;
    let origins = table.need("origins").map(origins).unwrap_or_default();
    let headers = any_or(&table, "headers", cors_header);
    let mut methods = Vec::new();
    for value in table.list("methods") {
        let Some(method) = value.text().and_then(|text| read_method(value, text)) else { continue };
        once(value, method, &mut methods);
    }
    let mut expose = Vec::new();
    for value in table.list("expose") {
        let Some(name) = value.parsed("the name of a header", cors_header) else { continue };
        once(value, name, &mut expose);
    }
    let credentials = table.is_on("credentials");
    let is_any = |list: &[String]| list.iter().any(|item| item == ANY);
    if let Some(value) = table.get("credentials").filter(|_| credentials && (is_any(&origins) || is_any(&headers))) {
        value.fault("credentials beside \"*\"", "name the origins and headers: browsers refuse \"*\" with credentials");
    }
    let max_age = table.duration_or("max_age", CORS_MAX_AGE_DEFAULT);
    Some(CorsPolicy { origins, methods, headers, expose, credentials, max_age })
}

fn origins(value: Value<'_>) -> Vec<String> {
    let values = value.list(LIST_MAX);
    if value.is_list() && values.is_empty() {
        value.fault("a cors without origins", "name those whose pages may ask: [\"https://shop.example\"]");
    }
    any_of(values, "an origin", web::origin)
}

/// The elements of a list, each once, of which `*` stands alone.
fn any_or(table: &Table<'_>, name: &'static str, parse: fn(&str) -> Result<String, &'static str>) -> Vec<String> {
    any_of(table.list(name), "the name of a header", parse)
}

fn any_of(values: Vec<Value<'_>>, what: &str, parse: fn(&str) -> Result<String, &'static str>) -> Vec<String> {
    let is_alone = values.len() == 1;
    let mut items = Vec::new();
    for value in values {
        let parse = |text: &str| if text == ANY { Ok(text.to_owned()) } else { parse(text) };
        let Some(item) = value.parsed(what, parse) else { continue };
        if item == ANY && !is_alone {
            value.fault("\"*\" beside others", "keep it alone, or remove it: it means every one");
        }
        once(value, item, &mut items);
    }
    items
}

/// The name of a header that a list of CORS names, lower case.
fn cors_header(text: &str) -> Result<String, &'static str> {
    // A star is a token, so it would pass for a name and mean all of them to a browser.
    if text == ANY { Err("name each header") } else { web::header_name(text) }
}

// === header edits ===

fn edits(value: Value<'_>) -> HeaderEdits {
    let Some(table) = value.table(&schema::HEADER_EDITS) else { return HeaderEdits::default() };
    let mut remove = Vec::new();
    for value in table.list("remove") {
        let Some(name) = web::own_header(value) else { continue };
        once(value, name, &mut remove);
    }
    let set = table.get("set").map(headers).unwrap_or_default();
    let add = table.get("add").map(headers).unwrap_or_default();
    HeaderEdits { remove, set, add }
}

fn headers(value: Value<'_>) -> Vec<(String, String)> {
    let mut names = BTreeSet::new();
    let mut headers = Vec::new();
    for entry in value.entries(&schema::HEADER_ENTRY, LIST_MAX) {
        let name = web::own_header_key(entry);
        let value = entry.parsed("the value of a header", header_value);
        let Some(name) = name else { continue };
        if !names.insert(name.clone()) {
            entry.fault_key(format!("the header {} is there twice", in_ticks(&name)), "keep one of them");
        }
        headers.extend(value.map(|value| (name, value)));
    }
    headers
}

fn header_value(text: &str) -> Result<String, &'static str> {
    if text.len() > HEADER_VALUE_LENGTH_MAX {
        return Err("write at most 4096 characters");
    }
    web::header_value(text)
}
