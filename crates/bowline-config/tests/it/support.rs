//! Configuration over a store of its own, judged by a little of JSON Schema.

use std::sync::Arc;

use bowline_config::{
    Author, ConfigManager, ConfigWatcher, Document, Draft, Error, Format, Schema, StoreConfig, Version, Violation,
};
use bowline_model::ConfigKey;
use bowline_runtime::{metric, time};
use bowline_store::{Embedded, Settings};
use serde_json::Value;
use tempfile::TempDir;

/// `required`, and `maximum` of a property: what the suite asks for.
pub(crate) struct Rules;

impl Schema for Rules {
    fn check(&self, _: &ConfigKey, document: &Document, schema: Option<&str>) -> Result<(), Vec<Violation>> {
        let Some(schema) = schema else { return Ok(()) };
        let schema: Value = serde_json::from_str(schema).unwrap();
        let json = document.to_json().unwrap();
        let mut violations = Vec::new();
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if json.get(name).is_none() {
                violations.push(violation(String::new(), "required", format!("`{name}` is missing")));
            }
        }
        for (name, rule) in schema["properties"].as_object().into_iter().flatten() {
            let max = rule["maximum"].as_u64().unwrap();
            if json[name].as_u64().is_some_and(|number| number > max) {
                violations.push(violation(format!("/{name}"), "maximum", format!("it is at most {max}")));
            }
        }
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    fn check_schema(&self, _: &ConfigKey, schema: &str) -> Result<(), String> {
        let schema: Value = serde_json::from_str(schema).map_err(|error| error.to_string())?;
        let is_kind = schema["type"].is_null() || schema["type"].is_string();
        if schema.is_object() && is_kind { Ok(()) } else { Err("it is no schema".to_owned()) }
    }
}

fn violation(path: String, rule: &str, detail: String) -> Violation {
    Violation { path, rule: rule.to_owned(), detail }
}

/// Configuration with what is under it.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) store: Embedded,
    pub(crate) config: Arc<dyn ConfigManager>,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::open(tempfile::tempdir().unwrap(), Arc::new(Rules), change).await
    }

    pub(crate) async fn judged_by(schema: impl Schema) -> Self {
        Self::open(tempfile::tempdir().unwrap(), Arc::new(schema), |_| {}).await
    }

    async fn open(dir: TempDir, schema: Arc<dyn Schema>, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new(dir.path().join("store.redb"));
        change(&mut settings);
        let store = Embedded::open(settings, &metric::Registry::default()).await.unwrap();
        let config = Arc::new(StoreConfig::new(Arc::new(store.clone()), schema));
        Self { dir, store, config }
    }

    pub(crate) async fn reopen(self) -> Self {
        self.store.close().await;
        let Self { dir, store, config } = self;
        drop((store, config));
        Self::open(dir, Arc::new(Rules), |_| {}).await
    }

    pub(crate) async fn publish(&self, key: &ConfigKey, text: &str) -> Version {
        self.config.set_config(key, draft(text)).await.unwrap()
    }

    pub(crate) async fn watch(&self, key: &ConfigKey) -> Box<dyn ConfigWatcher> {
        self.config.watch_config(key).await.unwrap()
    }
}

pub(crate) fn key(text: &str) -> ConfigKey {
    ConfigKey::new(text).unwrap()
}

pub(crate) fn draft(text: &str) -> Draft {
    Draft::new(Document::new(Format::Toml, text), Author::anonymous())
}

pub(crate) async fn next(watch: &mut Box<dyn ConfigWatcher>) -> Result<Option<Version>, Error> {
    time::timeout(time::Duration::from_mins(1), watch.next()).await.expect("a state comes")
}
