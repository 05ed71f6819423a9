//! The document `bowline/traffic`: how traffic is steered and disturbed, read and changed.

use anyhow::{Context as _, bail};
use bowline_config::{Author, ConfigManager, Document, Draft, Error, Format};
use bowline_model::{ConfigKey, mesh::Traffic};
use bowline_runtime::time;

use crate::{api, args::Query};

/// How often a change is tried that others are faster than.
const ATTEMPTS_MAX: usize = 8;

/// What is published, without the faults that have ended.
pub(crate) async fn read(query: &Query) -> anyhow::Result<Traffic> {
    let (traffic, _) = current(&api::config(query).await?, query).await?;
    Ok(traffic)
}

/// Changes what is published, on top of whatever others changed meanwhile; `why` is for the history.
///
/// An edit that is refused publishes nothing.
pub(crate) async fn change<T>(
    query: &Query,
    why: &str,
    edit: impl Fn(&mut Traffic) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let config = api::config(query).await?;
    for _ in 0..ATTEMPTS_MAX {
        let (mut traffic, number) = current(&config, query).await?;
        let told = edit(&mut traffic)?;
        let document = Document::new(Format::Json, serde_json::to_string_pretty(&traffic)?);
        let comment = why.to_owned();
        let draft = Draft { expect: Some(number), comment, ..Draft::new(document, Author::anonymous()) };
        match config.set_config(&ConfigKey::traffic(), draft).await {
            Ok(_) => return Ok(told),
            // Somebody was faster: what they changed stays.
            Err(Error::Conflict { .. }) => {}
            Err(error) => return Err(api::config_error(query, error)),
        }
    }
    bail!("others change the traffic all the time: try again")
}

/// What is published, and its version; 0: nothing is.
async fn current(config: &dyn ConfigManager, query: &Query) -> anyhow::Result<(Traffic, u64)> {
    let key = ConfigKey::traffic();
    let published = config.get_config(&key).await.map_err(|error| api::config_error(query, error))?;
    let Some(published) = published else { return Ok((Traffic::default(), 0)) };
    let mut traffic: Traffic = published.document.read().with_context(|| {
        format!("version {} of {key} cannot be read: `bowline config rollback {key}` goes back", published.number)
    })?;
    let now = time::unix_millis_now();
    traffic.faults.retain(|fault| fault.until_unix_ms > now);
    Ok((traffic, published.number))
}
