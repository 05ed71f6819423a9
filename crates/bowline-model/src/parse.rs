//! The `bowline.toml` parser: text in, a [`System`] or *all* problems with their positions out.
//!
//! It walks TOML's spanned tables, since serde stops at the first fault. What a table may hold is
//! said once, in `schema`; `value` turns that into readers that report what does not fit; each
//! section of the file has one function. A faulty value becomes a fault and a default, so that the
//! walk goes on; the system is handed out only when there was no fault at all.

mod auth;
mod boundary;
mod caches;
mod config;
mod cut;
mod databases;
mod deploy;
mod enforce;
mod file;
mod gateway;
mod listen;
mod mesh;
mod messages;
mod middleware;
mod monitor;
mod policy;
mod profile;
mod references;
mod route;
mod schema;
mod service;
mod syntax;
mod table;
#[cfg(test)]
mod tests;
mod value;
mod version;
mod web;

use crate::{
    gateway::RouteTable,
    name::ServiceName,
    problem::{Position, Problem, without_mark},
    suggest,
    system::System,
};
pub use cut::routes_text;
use file::File;
use references::Names;
pub(crate) use service::{check_command, check_variable};
use table::Table;
use toml::de::DeTable;
use value::Value;
pub(crate) use value::in_ticks;

/// The largest `bowline.toml` that is read, in bytes.
pub const TEXT_MAX: usize = 4 << 20;

/// The most services a system has.
pub const SERVICES_MAX: usize = 4000;

/// The most routes a system has.
pub const ROUTES_MAX: usize = 1000;

/// The most ways to tell who calls.
pub const AUTHS_MAX: usize = 100;

/// The most documents of configuration that a system brings along.
pub const CONFIGS_MAX: usize = 1000;

/// The most topics that a system says something of.
pub const TOPICS_MAX: usize = 1000;

/// The most profiles that a file has.
pub const PROFILES_MAX: usize = 16;

/// The most problems that are told at once; further ones are counted out as one.
pub const PROBLEMS_MAX: usize = 1000;

/// Reads a whole `bowline.toml`.
///
/// Services, calls and routes keep the order of the file. A byte order mark and `\r\n` are accepted.
///
/// # Errors
/// Every problem there is, sorted by position, at most [`PROBLEMS_MAX`] and one that says that
/// there are more. Where the text is no TOML, the problems are those of its syntax alone.
pub fn parse(text: &str) -> Result<System, Vec<Problem>> {
    parse_with(text, None)
}

/// Reads a whole `bowline.toml` as [`parse()`] does, with what its section `[profile.NAME]` says in the place of the
/// rest, where a profile is chosen. What is wrong with the file is told whichever is.
///
/// # Errors
/// As [`parse()`]; also where the file has no such profile.
pub fn parse_with(text: &str, profile: Option<&str>) -> Result<System, Vec<Problem>> {
    built(declared(text, profile))
}

/// Reads a whole `bowline.toml` as [`parse_with`] does, also where it declares what is not built yet.
///
/// Such a system cannot be run, but what it declares can be proved: [`check()`](crate::check::check()). Beside it are
/// the problems that say what is not built, sorted by position.
///
/// # Errors
/// Every problem there is, as [`parse_with`] tells them, where one of them is more than that.
pub fn declared(text: &str, profile: Option<&str>) -> Result<(System, Vec<Problem>), Vec<Problem>> {
    read_tree(text, |root, file| profile::read(root, profile, file))
}

/// Reads a route table that stands by itself: the sections `[gateway]`, `[auth.X]` and `[[route]]` of a
/// `bowline.toml`, and no others. What it names of `services` has to be among them.
///
/// [`routes_text`] gives such a text.
///
/// # Errors
/// As [`parse()`].
pub fn routes(text: &str, services: &[ServiceName]) -> Result<RouteTable, Vec<Problem>> {
    route_table(text, Names::known(services))
}

/// Reads a route table as [`routes`] does, where it is not known which services there are: every name of
/// one is taken.
///
/// # Errors
/// As [`parse()`].
pub fn routes_of_any(text: &str) -> Result<RouteTable, Vec<Problem>> {
    route_table(text, Names::any())
}

fn route_table(text: &str, services: Names<'_>) -> Result<RouteTable, Vec<Problem>> {
    built(read_tree(text, |root, file| {
        let root = Table::root(root, &schema::ROUTE_TABLE, file);
        Some(gateway::table(&root, services).0)
    }))
}

/// What was read, where everything of it is built.
fn built<T>(read: Result<(T, Vec<Problem>), Vec<Problem>>) -> Result<T, Vec<Problem>> {
    let (read, unbuilt) = read?;
    if unbuilt.is_empty() { Ok(read) } else { Err(unbuilt) }
}

/// Reads a text by its tree; beside it what is not built of it.
fn read_tree<T>(
    text: &str,
    read: impl for<'a> FnOnce(&'a DeTable<'a>, &'a File<'a>) -> Option<T>,
) -> Result<(T, Vec<Problem>), Vec<Problem>> {
    let text = without_mark(text);
    if text.len() > TEXT_MAX {
        let message = format!("the file has {} bytes, above the limit of {TEXT_MAX}", text.len());
        return Err(vec![Problem::of_file(message, "move what is generated out of it")]);
    }
    let file = File::new(text);
    let read = syntax::read(&file).and_then(|root| read(root.get_ref(), &file));
    let is_understood = file.is_understood();
    let problems = file.into_problems();
    match read {
        Some(read) if is_understood => Ok((read, problems)),
        _ => Err(problems),
    }
}

/// The text of a file's bytes, or the problem of the first byte that is no UTF-8.
pub fn decode(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| {
        let good = std::str::from_utf8(&bytes[..error.valid_up_to()]).expect("it is valid up to there");
        Problem {
            position: Position::of_offset(without_mark(good), good.len()),
            width: 1,
            message: "the file is not UTF-8 here".to_owned(),
            help: "save it as UTF-8".to_owned(),
        }
    })
}

/// `Microservices(S) = ⟨Services(S), Communication(S), Deployment(S)⟩`: the whole file.
fn system(root: &Table<'_>) -> Option<System> {
    let name = root.need("name").and_then(Value::label);
    let enforce::Read { policy: boundaries, written } = root.get("boundary").map(enforce::read).unwrap_or_default();
    let mesh = root.get("mesh").map(|value| mesh::read(value, written));
    let entries = root.get("service").map(|value| value.entries(&schema::SERVICE_ENTRY, SERVICES_MAX));
    let entries = entries.unwrap_or_default();
    let declared = Names::declared("service", &entries);
    let databases = root.get("databases").map(databases::read).unwrap_or_default();
    let services = service::read_all(&entries, databases.kinds_told());
    let deployments = root.get("deploy").map(|value| deploy::read_all(value, &entries, &declared)).unwrap_or_default();
    let configs = root.get("config").map(config::read_all).unwrap_or_default();
    let tracing = root.get("tracing").map(|value| monitor::tracing(value, &declared)).unwrap_or_default();
    let metrics = root.get("metrics").map(monitor::metrics).unwrap_or_default();
    let alerts = root.get("alerts").map(monitor::alerts).unwrap_or_default();
    let caches = root.get("caches").map(caches::read).unwrap_or_default();
    let messages = root.get("messages").map(messages::read).unwrap_or_default();
    let topics = root.get("topic").map(messages::topics).unwrap_or_default();
    let (table, routes) = gateway::table(root, declared);
    let system = System { services, table, routes, configs, mesh, tracing, metrics, alerts, ..System::new(name?) };
    Some(System { messages, caches, databases, topics, boundaries, deployments, ..system })
}
