//! The suite that every provider of the port passes.
//!
//! A provider's test calls [`all`] with a manager that judges by JSON Schema, as far as the suite
//! uses it: `required`, and `maximum` of a property. It publishes under the namespace `suite`
//! only, as somebody anonymous. Times are waited for through [`bowline_runtime::time`], so a test
//! may pause the clock; it panics where the port's promise is broken.

mod acks;
mod documents;
mod schemas;
mod watches;

use std::{sync::Arc, time::Duration};

use bowline_model::ConfigKey;
use bowline_runtime::time;

use crate::{Author, ConfigManager, ConfigWatcher, Document, Draft, Format, Schema, Version, Violation};

pub use acks::{acknowledgements_are_told_while_they_are_renewed, acknowledgements_of_nothing_are_refused};
pub use documents::{
    a_check_foresees_a_publication_and_changes_nothing, a_conflict_shows_both_sides,
    a_deleted_document_can_be_brought_back, a_rollback_is_a_new_version, bounds_are_refused,
    concurrent_writers_have_one_winner_a_version, documents_are_listed, documents_are_published_and_read,
    history_is_kept_within_bounds, malformed_documents_are_refused_with_their_place,
};
pub use schemas::{
    a_schema_is_held_against_every_version, a_schema_that_is_not_the_expected_one_is_not_replaced,
    schema_and_document_change_together,
};
pub use watches::{
    a_slow_watch_ends_at_the_last_state, a_watch_tells_now_and_what_comes, an_abandoned_wait_loses_nothing,
    neighbours_are_not_told,
};

/// The longest that something is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// The managers of one configuration.
pub type Manager = Arc<dyn ConfigManager>;

/// Lets everything be published, for tests of those who act by documents: what is wrong is theirs to find.
#[derive(Debug)]
pub struct Anything;

impl Schema for Anything {
    fn check(&self, _: &ConfigKey, _: &Document, _: Option<&str>) -> Result<(), Vec<Violation>> {
        Ok(())
    }

    fn check_schema(&self, _: &ConfigKey, _: &str) -> Result<(), String> {
        Ok(())
    }
}

/// Everything, one after the other.
pub async fn all(config: &Manager) {
    documents_are_published_and_read(config).await;
    documents_are_listed(config).await;
    a_conflict_shows_both_sides(config).await;
    a_check_foresees_a_publication_and_changes_nothing(config).await;
    concurrent_writers_have_one_winner_a_version(config).await;
    malformed_documents_are_refused_with_their_place(config).await;
    bounds_are_refused(config).await;
    a_rollback_is_a_new_version(config).await;
    a_deleted_document_can_be_brought_back(config).await;
    history_is_kept_within_bounds(config).await;
    a_schema_is_held_against_every_version(config).await;
    a_schema_that_is_not_the_expected_one_is_not_replaced(config).await;
    schema_and_document_change_together(config).await;
    a_watch_tells_now_and_what_comes(config).await;
    neighbours_are_not_told(config).await;
    an_abandoned_wait_loses_nothing(config).await;
    a_slow_watch_ends_at_the_last_state(config).await;
    acknowledgements_are_told_while_they_are_renewed(config).await;
    acknowledgements_of_nothing_are_refused(config).await;
}

fn key(name: &str) -> ConfigKey {
    ConfigKey::new(&format!("suite/{name}")).expect("a key of the suite")
}

fn toml(text: &str) -> Document {
    Document::new(Format::Toml, text)
}

fn draft(document: Document) -> Draft {
    Draft::new(document, Author::anonymous())
}

/// Publishes `items_max = N`.
async fn publish(config: &Manager, key: &ConfigKey, items_max: u64) -> Version {
    let draft = draft(toml(&format!("items_max = {items_max}\n")));
    config.set_config(key, draft).await.expect("publishes")
}

async fn next(watch: &mut Box<dyn ConfigWatcher>) -> Option<Version> {
    time::timeout(PATIENCE, watch.next()).await.expect("a state comes").expect("the watch goes on")
}
