//! The command line of configuration: `bowline config …`, `bowline routes …`, `bowline explain`.

use std::{net::IpAddr, path::PathBuf};

use bowline_model::ConfigKey;
use clap::Subcommand;

use super::Query;

/// Configuration of services
#[derive(Debug, clap::Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Lists documents: their current version, who published it, when
    List {
        /// Only this namespace
        namespace: Option<String>,
        #[command(flatten)]
        query: Query,
    },
    /// Prints a document as it was published
    Get {
        #[command(flatten)]
        key: Key,
        #[command(flatten)]
        get: Get,
    },
    /// Publishes a document: checked by its schema, live within a second
    Set {
        #[command(flatten)]
        key: Key,
        #[command(flatten)]
        set: Set,
    },
    /// Lists the versions of a document, newest first
    History {
        #[command(flatten)]
        key: Key,
        #[command(flatten)]
        history: History,
    },
    /// Shows what changed between two versions, or what a file would change
    Diff {
        #[command(flatten)]
        key: Key,
        #[command(flatten)]
        diff: Diff,
    },
    /// Publishes what an earlier version said, as a new version
    Rollback {
        #[command(flatten)]
        key: Key,
        #[command(flatten)]
        rollback: Rollback,
    },
    /// Prints each version as it is published, the current one first
    Watch {
        #[command(flatten)]
        key: Key,
        #[command(flatten)]
        query: Query,
    },
    /// Shows which instance runs which version, and who refused one, and why
    Status {
        #[command(flatten)]
        key: Key,
        #[command(flatten)]
        query: Query,
    },
    /// Deletes a document; who runs it keeps what it has, and a rollback brings it back
    Delete {
        #[command(flatten)]
        key: Key,
        /// Only if this is the current version
        #[arg(long, value_name = "VERSION")]
        expect: Option<u64>,
        #[command(flatten)]
        query: Query,
    },
    /// Prints, sets or removes the JSON Schema that every version has to fit
    Schema {
        #[command(flatten)]
        key: Key,
        /// The file with the schema to set; - is standard input
        file: Option<PathBuf>,
        /// Removes the schema
        #[arg(long, conflicts_with = "file")]
        remove: bool,
        #[command(flatten)]
        query: Query,
    },
}

/// Routes of the gateway, as they are in the store
#[derive(Debug, clap::Args)]
pub(crate) struct Routes {
    #[command(subcommand)]
    pub(crate) command: RoutesCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RoutesCommand {
    /// Prints the routes that are live, as TOML
    Get(Get),
    /// Replaces all routes at once: checked, live within a second, no request dropped
    Set(Set),
    /// Lists the versions, newest first
    History(History),
    /// Shows what changed between two versions, or what a file would change
    Diff(Diff),
    /// Publishes what an earlier version said, as a new version
    Rollback(Rollback),
    /// Shows which gateway runs which version, and who refused one, and why
    Status(Query),
}

/// Says which route, rules, limits and backend a request would meet, without sending it
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    /// The request's method
    pub(crate) method: String,
    /// The request's address, as `http://shop.localhost/orders/1`
    pub(crate) url: String,
    /// A header of the request; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) headers: Vec<(String, String)>,
    /// The address it would come from, which limits by address count [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub(crate) client: Option<IpAddr>,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Key {
    /// The document: NAMESPACE/NAME, as shop/order
    pub(crate) key: ConfigKey,
}

#[derive(Debug, clap::Args)]
#[group(skip)] // its name is the command's
pub(crate) struct Get {
    /// This version instead of the current one
    #[arg(long, value_name = "VERSION")]
    pub(crate) version: Option<u64>,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
#[group(skip)] // its name is the command's
pub(crate) struct Set {
    /// The file with the document, as .toml, .json or .txt; - is standard input
    pub(crate) file: PathBuf,
    /// The document's format [default: what the file's name tells, else that of the current version, else text]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Only if this is the current version; 0: only if there is none
    #[arg(long, value_name = "VERSION")]
    pub(crate) expect: Option<u64>,
    /// Why, for the history
    #[arg(long, short = 'm', value_name = "TEXT", default_value = "")]
    pub(crate) comment: String,
    /// Only say whether it would be published
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
#[group(skip)] // its name is the command's
pub(crate) struct History {
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
#[group(skip)] // its name is the command's
pub(crate) struct Diff {
    /// From this version [default: the one before the current one, or the current one with --file]
    #[arg(value_name = "FROM")]
    pub(crate) from: Option<u64>,
    /// To this version [default: the current one]
    #[arg(value_name = "TO", conflicts_with = "file")]
    pub(crate) to: Option<u64>,
    /// To this file instead; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
#[group(skip)] // its name is the command's
pub(crate) struct Rollback {
    /// The version whose document is published again [default: the one before the current one, or the
    /// last one of a deleted document]
    #[arg(value_name = "VERSION")]
    pub(crate) to: Option<u64>,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// TOML
    Toml,
    /// JSON
    Json,
    /// Any text
    Text,
}

/// `NAME: VALUE`, as curl takes it.
pub(super) fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write NAME: VALUE, as \"authorization: Bearer …\"")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}
