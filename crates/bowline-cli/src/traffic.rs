//! The document `bowline/traffic`: how traffic is steered and disturbed, read and changed.

use anyhow::Context as _;
use bowline_config::{Author, ConfigManager as _, Document, Draft, Error, Format, Version};
use bowline_model::{ConfigKey, mesh::Traffic};
use bowline_runtime::time;

use crate::{api, args::Query};

/// Why traffic could not be changed.
enum Failed {
    Config(Error),
    Edit(anyhow::Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Config(error)
    }
}

/// What is published, without the faults and orders that have ended.
pub(crate) async fn read(query: &Query) -> anyhow::Result<Traffic> {
    let published = api::config(query).await?.get_config(&ConfigKey::traffic()).await;
    of(published.map_err(|error| api::config_error(query, error))?.as_ref())
}

/// Changes what is published, on top of whatever others changed meanwhile; `why` is for the history.
///
/// An edit that is refused publishes nothing.
pub(crate) async fn change<T>(
    query: &Query,
    why: &str,
    edit: impl Fn(&mut Traffic) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let (config, key) = (api::config(query).await?, ConfigKey::traffic());
    let mut told = None;
    let changed = bowline_config::change(&config, &key, |published| {
        let mut traffic = of(published).map_err(Failed::Edit)?;
        told = Some(edit(&mut traffic).map_err(Failed::Edit)?);
        let text = serde_json::to_string_pretty(&traffic).map_err(|error| Failed::Edit(error.into()))?;
        let draft = Draft::new(Document::new(Format::Json, text), Author::anonymous());
        Ok(Some(Draft { comment: why.to_owned(), ..draft }))
    });
    match changed.await {
        Ok(_) => Ok(told.expect("what is published was edited")),
        Err(Failed::Config(error)) => Err(api::config_error(query, error)),
        Err(Failed::Edit(error)) => Err(error),
    }
}

/// The traffic of a version, without the faults and orders that have ended.
fn of(published: Option<&Version>) -> anyhow::Result<Traffic> {
    let key = ConfigKey::traffic();
    let Some(published) = published else { return Ok(Traffic::default()) };
    let mut traffic: Traffic = published.document.read().with_context(|| {
        format!("version {} of {key} cannot be read: `bowline config rollback {key}` goes back", published.number)
    })?;
    traffic.end(time::unix_millis_now());
    Ok(traffic)
}
