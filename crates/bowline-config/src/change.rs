//! A change of a document on top of whatever others changed meanwhile.

use bowline_model::ConfigKey;

use crate::{ConfigManager, Draft, Error, Version};

/// How often a change is tried that others are faster than.
const ATTEMPTS_MAX: u32 = 8;

/// Publishes what `edit` makes of the current version, where that is anything; it is asked anew where somebody was
/// faster. A draft that says itself which version it changes is tried once.
///
/// # Errors
/// What `edit` refuses, and those of [`ConfigManager::set_config`]; nothing is published then.
///
/// # Cancel safety
/// Dropping the future leaves open whether it happens.
pub async fn change<E: From<Error>>(
    config: &dyn ConfigManager,
    key: &ConfigKey,
    mut edit: impl FnMut(Option<&Version>) -> Result<Option<Draft>, E>,
) -> Result<Option<Version>, E> {
    let mut attempt = 1;
    loop {
        let current = config.get_config(key).await?;
        let Some(draft) = edit(current.as_ref())? else { return Ok(None) };
        let is_tried_once = draft.expect.is_some();
        let expect = draft.expect.or(Some(current.map_or(0, |version| version.number)));
        match config.set_config(key, Draft { expect, ..draft }).await {
            Ok(version) => return Ok(Some(version)),
            Err(Error::Conflict { .. }) if !is_tried_once && attempt < ATTEMPTS_MAX => attempt += 1,
            Err(error) => return Err(error.into()),
        }
    }
}
