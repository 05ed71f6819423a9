//! The command line of messages: `bowline messages …`.

use clap::Subcommand;

use super::Query;

#[derive(Debug, Subcommand)]
pub(crate) enum MessagesCommand {
    /// Lists topics: how much is kept, how many dead letters, and how far behind each group is
    Topics(MessageTopics),
    /// Lists messages of a topic, or its dead letters
    List(MessageList),
    /// Shows one message with its headers and its payload; of a dead letter also why it died
    Show(MessageShow),
    /// Gives dead letters back to their groups, which try them anew
    Redrive(MessageRedrive),
    /// Deletes dead letters
    Purge(MessagePurge),
}

#[derive(Debug, clap::Args)]
pub(crate) struct MessageTopics {
    /// Only this topic
    pub(crate) topic: Option<String>,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MessageList {
    /// Which topic
    pub(crate) topic: String,
    /// Dead letters instead of messages
    #[arg(long)]
    pub(crate) dead: bool,
    /// From that position on
    #[arg(long, value_name = "POSITION", default_value_t = 1)]
    pub(crate) from: u64,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = limit)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MessageShow {
    /// Which topic
    pub(crate) topic: String,
    /// Where it stands, as `bowline messages list` shows it
    pub(crate) position: u64,
    /// The dead letter of that position among the dead letters, instead of the message
    #[arg(long)]
    pub(crate) dead: bool,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MessageRedrive {
    /// Which topic
    pub(crate) topic: String,
    #[command(flatten)]
    pub(crate) which: WhichDead,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MessagePurge {
    /// Which topic
    pub(crate) topic: String,
    /// Says that dead letters are meant, which are then gone for good
    #[arg(long, required = true)]
    dead: bool,
    #[command(flatten)]
    pub(crate) which: WhichDead,
    #[command(flatten)]
    pub(crate) query: Query,
}

/// Which dead letters: one, or all.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct WhichDead {
    /// The one at that position, as `bowline messages list TOPIC --dead` shows it
    pub(crate) position: Option<u64>,
    /// All that are there now
    #[arg(long)]
    pub(crate) all: bool,
}

fn limit(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|limit| (1..=1000).contains(limit)).ok_or("write a number from 1 to 1000")
}
