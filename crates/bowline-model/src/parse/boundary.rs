//! `Boundary(s) = ⟨API(s), Data(s), State(s)⟩`: what a service owns.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{
    schema,
    service::ENV_RESERVED,
    suggest,
    table::Table,
    value::{Value, in_ticks},
};
use crate::{
    data,
    problem::Position,
    route::{METHODS, PathPattern, Segment},
    system::{Boundary, Operation, Resource, TOPIC},
};

/// Kinds that are meant where a name is nearly theirs; others are the users' own.
const KINDS: [&str; 4] = ["sqlite", "postgres", TOPIC, "cache"];

const RESOURCE_RULE: &str = "write a kind and a name of a-z, 0-9 and inner . _ -, nested by /: \"sqlite:order.db\"";

/// What a topic's name is.
const TOPIC_RULE: &str = "write a name of a-z, 0-9 and inner . _ -, without its kind: \"order.placed\"";

/// The longest `kind:name`; it becomes the name of a file.
pub(super) const RESOURCE_LENGTH_MAX: usize = 128;

/// What is in a service's lists so far.
#[derive(Debug, Default)]
struct Listed(BTreeMap<String, Position>);

impl Listed {
    /// Notes that a list has `thing`; a problem where what is the same by `identity` is listed already.
    fn add(&mut self, identity: String, thing: &str, at: Value<'_>) {
        match self.0.entry(identity) {
            Entry::Vacant(vacant) => drop(vacant.insert(at.position())),
            Entry::Occupied(first) => {
                let help = format!("remove it: line {} has it", first.get().line);
                at.fault(format!("{} is listed twice", in_ticks(thing)), help);
            }
        }
    }
}

/// What a service owns; `told` are the kinds of data that Bowline says the connection strings of.
pub(super) fn read(value: Value<'_>, told: &[&str]) -> Boundary {
    let Some(table) = value.table(&schema::BOUNDARY) else { return Boundary::default() };
    let mut listed = Listed::default();
    let api = table.list("api").into_iter().filter_map(|value| operation(value, &mut listed)).collect();
    let data = resources(&table, "data", told, &mut listed);
    let state = resources(&table, "state", &[], &mut listed);
    Boundary { api, data, state }
}

fn operation(value: Value<'_>, listed: &mut Listed) -> Option<Operation> {
    let operation = read_operation(value)?;
    listed.add(format!("{} {}", operation.method, shape(&operation.path)), value.text()?, value);
    Some(operation)
}

/// A method and a path.
pub(super) fn read_operation(value: Value<'_>) -> Option<Operation> {
    let text = value.text()?;
    let Some((method, path)) = text.split_once(' ') else {
        let message = format!("{} is not an operation", value.quoted_with(text));
        return value.refuse(message, "write a method and a path: \"GET /orders/{id}\"");
    };
    let method = read_method(value, method)?;
    let path = match PathPattern::parse(path) {
        Ok(path) => path,
        Err(rule) => return value.refuse(format!("{} is not a path", in_ticks(path)), rule),
    };
    Some(Operation { method, path, position: value.position() })
}

/// The pattern with its parameters' names struck out: what differs in them alone is the same.
pub(super) fn shape(path: &PathPattern) -> String {
    let mut shape = String::new();
    for segment in path.segments() {
        match segment {
            Segment::Literal(text) => shape.extend(["/", text]),
            Segment::Parameter(_) => shape.push_str("/{}"),
        }
    }
    if path.is_prefix() {
        shape.push_str("/**");
    }
    if shape.is_empty() { "/".to_owned() } else { shape }
}

/// One of the HTTP methods there are.
pub(super) fn read_method(value: Value<'_>, text: &str) -> Option<String> {
    if METHODS.contains(&text) {
        return Some(text.to_owned());
    }
    let help = suggest::nearest(text, METHODS)
        .map_or_else(|| format!("write one of {}", METHODS.join(", ")), |method| format!("did you mean `{method}`?"));
    value.refuse(format!("unknown method {}", in_ticks(text)), help)
}

/// `Data(s)` and `State(s)`: names of things, `kind:name`.
fn resources(table: &Table<'_>, key: &'static str, told: &[&str], listed: &mut Listed) -> Vec<Resource> {
    let mut variables = BTreeMap::new();
    let mut resources = Vec::new();
    for value in table.list(key) {
        let Some(resource) = resource(value) else { continue };
        let written = resource.to_string();
        listed.add(written.clone(), &written, value);
        if told.contains(&resource.kind.as_str()) {
            check_variable(value, &resource, &mut variables);
        }
        resources.push(resource);
    }
    resources
}

fn resource(value: Value<'_>) -> Option<Resource> {
    let (kind, name) = value.parsed("a resource", |text| split_resource(text).ok_or(RESOURCE_RULE))?;
    if let Some(meant) = suggest::nearest(&kind, KINDS).filter(|meant| *meant != kind) {
        return value.refuse(format!("unknown kind {}", in_ticks(&kind)), format!("did you mean `{meant}:{name}`?"));
    }
    if kind == TOPIC && name.contains('/') {
        return value
            .refuse(format!("{} is within a topic", in_ticks(&name)), "nothing is nested in a topic: use a dot");
    }
    Some(Resource { kind, name, position: value.position() })
}

fn split_resource(text: &str) -> Option<(String, String)> {
    let (kind, name) = text.split_once(':')?;
    let is_kind = kind.starts_with(|first: char| first.is_ascii_lowercase()) && kind.bytes().all(is_alphanumeric);
    (text.len() <= RESOURCE_LENGTH_MAX && is_kind && is_name(name)).then(|| (kind.to_owned(), name.to_owned()))
}

/// A topic, by its name alone.
pub(super) fn topic(value: Value<'_>) -> Option<Resource> {
    let name = value.parsed("a topic", topic_name)?;
    Some(Resource { kind: TOPIC.to_owned(), name, position: value.position() })
}

/// The name of a topic. Nothing is nested in one.
pub(super) fn topic_name(text: &str) -> Result<String, &'static str> {
    let is_topic = text.len() <= RESOURCE_LENGTH_MAX && !text.contains('/') && is_name(text);
    if is_topic { Ok(text.to_owned()) } else { Err(TOPIC_RULE) }
}

fn is_name(name: &str) -> bool {
    // A dot first or last would hide a file, or climb out of the folder it belongs in. Tables, which come after the
    // first part, may begin and end with what SQL lets them.
    let is_part = |(at, part): (usize, &str)| {
        let is_end = |byte: u8| is_alphanumeric(byte) || (at > 0 && byte == b'_');
        let has_ends = part.bytes().next().is_some_and(is_end) && part.bytes().last().is_some_and(is_end);
        has_ends && part.bytes().all(|byte| is_alphanumeric(byte) || b"._-".contains(&byte))
    };
    name.split('/').enumerate().all(is_part)
}

fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Two databases of one service need two variables for their connection strings.
fn check_variable(value: Value<'_>, resource: &Resource, variables: &mut BTreeMap<String, String>) {
    let database = format!("{}:{}", resource.kind, data::database(&resource.name));
    let variable = resource.variable();
    if ENV_RESERVED.contains(&variable.as_str()) {
        value.fault(format!("`{database}` would be told in {variable}, which has a meaning"), "give it another name");
    }
    let first = variables.entry(variable.clone()).or_insert_with(|| database.clone());
    if *first != database {
        let message = format!("`{database}` and `{first}` would both be told in {variable}");
        value.fault(message, "give one of them another name");
    }
}
