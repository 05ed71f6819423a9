//! Serves by the route table that is published.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bowline_config::{ConfigManager, Format, Version};
use bowline_model::{ConfigKey, InstanceId, Problem, ServiceName, error::chain, gateway::RouteTable, parse};
use bowline_proxy::follow::{self, Kept};

use crate::Handle;

/// How a gateway follows the published route table: for [`Gateway::follow`](crate::Gateway::follow).
pub struct Follow {
    /// Who is asked for it.
    pub config: Arc<dyn ConfigManager>,
    /// The services that a table may name; none: nobody here knows which there are, and any name is taken.
    pub services: Option<Vec<ServiceName>>,
    /// Who says what came of each version, and of which service that is an instance.
    pub instance: InstanceId,
    /// As `instance`.
    pub service: ServiceName,
    /// Where the last good table is kept, if anywhere.
    pub last_good: Option<PathBuf>,
    /// The version that is served when following begins; none where it is none that was published.
    pub runs: Option<u64>,
}

/// The last table that was served by a version that was published, as it is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGood {
    /// The table.
    pub table: RouteTable,
    /// Its version.
    pub version: u64,
}

impl LastGood {
    /// Reads the table that [`Follow::last_good`] keeps; `None` where there is none yet. `services` is as
    /// [`Follow::services`].
    ///
    /// # Errors
    /// When the file cannot be read; `InvalidData` when it has another format, or names what is none of
    /// `services` any more.
    pub fn read(path: &Path, services: Option<&[ServiceName]>) -> io::Result<Option<Self>> {
        let Some(Kept { text, version }) = last_good(path.to_path_buf()).read()? else { return Ok(None) };
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        let table = parse_routes(&text, services).map_err(|problems| invalid(reason(&problems)))?;
        Ok(Some(Self { table, version }))
    }
}

impl Follow {
    /// Follows, for ever.
    pub(crate) async fn run(self, handle: Handle) {
        let Self { config, services, instance, service, last_good: path, runs } = self;
        let (key, last_good) = (ConfigKey::routes(), path.map(last_good));
        let follow = follow::Follow { config, key, instance, service, last_good, runs };
        follow.run(|version| apply(version, services.as_deref(), &handle)).await;
    }
}

fn last_good(path: PathBuf) -> follow::LastGood {
    follow::LastGood { path, what: "routes" }
}

fn apply(version: &Version, services: Option<&[ServiceName]>, handle: &Handle) -> Result<(), String> {
    let document = &version.document;
    if document.format != Format::Toml {
        return Err("routes are written in TOML".to_owned());
    }
    let table = parse_routes(&document.text, services).map_err(|problems| reason(&problems))?;
    handle.set_table(&table).map_err(|error| chain(&error))
}

fn parse_routes(text: &str, services: Option<&[ServiceName]>) -> Result<RouteTable, Vec<Problem>> {
    match services {
        Some(services) => parse::routes(text, services),
        None => parse::routes_of_any(text),
    }
}

/// What is wrong in a document, each with its place and what to write instead.
fn reason(problems: &[Problem]) -> String {
    let line = |problem: &Problem| match problem.help.as_str() {
        "" => problem.to_string(),
        help => format!("{problem} ({help})"),
    };
    problems.iter().map(line).collect::<Vec<_>>().join("; ")
}

impl std::fmt::Debug for Follow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { config: _, services, instance, service, last_good, runs } = self;
        f.debug_struct("Follow")
            .field("services", services)
            .field("instance", instance)
            .field("service", service)
            .field("last_good", last_good)
            .field("runs", runs)
            .finish_non_exhaustive()
    }
}
