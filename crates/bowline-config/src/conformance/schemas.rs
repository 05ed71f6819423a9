//! Schemas: whatever is published fits, and whatever is there fits what is set.

use bowline_model::Code;

use super::{Manager, draft, key, publish, toml};
use crate::{Author, Error, ExpectSchema, Violation};

fn schema(items_max: u64) -> String {
    format!(
        r#"{{"type": "object", "required": ["items_max"], "properties": {{"items_max": {{"maximum": {items_max}}}}}}}"#
    )
}

#[track_caller]
fn rejected<T: std::fmt::Debug>(result: Result<T, Error>) -> Vec<Violation> {
    let error = result.expect_err("a rule is broken");
    assert_eq!((error.code(), error.retryable()), (Code::Unprocessable, false), "{error:?}");
    match error {
        Error::Rejected { violations } => violations,
        other => panic!("{other:?}"),
    }
}

/// Every version fits the schema, rollbacks too, and the schema fits the current version.
pub async fn a_schema_is_held_against_every_version(config: &Manager) {
    let key = key("schema");
    assert_eq!(config.get_schema(&key).await.expect("reads"), None);
    config
        .set_schema(&key, Some(&schema(100)), ExpectSchema::Any)
        .await
        .expect("it is a schema, before there is a document");
    assert_eq!(config.get_schema(&key).await.expect("reads"), Some(schema(100)));
    let violations = rejected(config.set_config(&key, draft(toml("items_max = 101"))).await);
    assert_eq!((violations.len(), &*violations[0].path, &*violations[0].rule), (1, "/items_max", "maximum"));
    assert!(violations[0].detail.contains("100"), "{violations:?}");
    let violations = rejected(config.check_config(&key, draft(toml("items_max = 101"))).await);
    assert_eq!((violations.len(), &*violations[0].path, &*violations[0].rule), (1, "/items_max", "maximum"));
    assert_eq!(config.check_config(&key, draft(toml("items_max = 100"))).await.expect("it fits"), 1);
    let violations = rejected(config.set_config(&key, draft(toml("items = 1"))).await);
    assert_eq!((&*violations[0].path, &*violations[0].rule), ("", "required"));
    assert!(violations[0].detail.contains("items_max"), "{violations:?}");
    assert_eq!(config.get_config(&key).await.expect("reads"), None);

    publish(config, &key, 50).await;
    publish(config, &key, 5).await;
    for not_a_schema in ["", "{", "5", r#"{"type": 5}"#] {
        let error = config.set_schema(&key, Some(not_a_schema), ExpectSchema::Any).await.expect_err("it is no schema");
        assert!(matches!(error, Error::InvalidSchema { .. }), "{not_a_schema}: {error:?}");
    }
    let violations = rejected(config.set_schema(&key, Some(&schema(4)), ExpectSchema::Any).await);
    assert_eq!((&*violations[0].path, &*violations[0].rule), ("/items_max", "maximum"));
    assert_eq!(config.get_schema(&key).await.expect("reads"), Some(schema(100)), "nothing was changed");
    config.set_schema(&key, Some(&schema(10)), ExpectSchema::Any).await.expect("the current document fits");
    rejected(config.rollback(&key, 1, None, Author::anonymous()).await);
    let listed = config.list(Some("suite")).await.expect("lists");
    assert!(listed.iter().any(|summary| summary.key == key && summary.has_schema));
    config.set_schema(&key, None, ExpectSchema::Any).await.expect("removes it");
    config.set_schema(&key, None, ExpectSchema::Any).await.expect("it is gone already");
    assert_eq!(config.get_schema(&key).await.expect("reads"), None);
    config.rollback(&key, 1, None, Author::anonymous()).await.expect("nothing is demanded");
}

/// A document and its schema can change in one step, where neither would fit the other's old form.
pub async fn schema_and_document_change_together(config: &Manager) {
    let key = key("schema-with");
    let narrow = r#"{"required": ["items_max"], "properties": {"items_max": {"maximum": 9}}}"#;
    let wide = r#"{"required": ["orders_max"]}"#;
    let set = async |text: &str, schema: &str| config.set_config_with_schema(&key, draft(toml(text)), schema).await;
    set("items_max = 9", narrow).await.expect("they fit");
    rejected(set("items_max = 9", wide).await);
    assert_eq!(config.get_schema(&key).await.expect("reads").as_deref(), Some(narrow), "nothing was changed");
    rejected(config.set_config(&key, draft(toml("orders_max = 9"))).await);
    rejected(config.set_schema(&key, Some(wide), ExpectSchema::Any).await);
    assert_eq!(set("orders_max = 9", wide).await.expect("they fit").number, 2);
    assert_eq!(config.get_schema(&key).await.expect("reads").as_deref(), Some(wide));
    let error = set("orders_max = 9", "{").await.expect_err("it is no schema");
    assert!(matches!(error, Error::InvalidSchema { .. }), "{error:?}");
}

/// A change of a schema says which one it changes, where it cares.
pub async fn a_schema_that_is_not_the_expected_one_is_not_replaced(config: &Manager) {
    let (key, other) = (key("schemas-expected"), schema(9));
    let set = async |schema, expect| config.set_schema(&key, schema, expect).await;
    let is = |schema: &str| ExpectSchema::Is(schema.to_owned());
    let refused = |answer: Result<(), Error>| {
        let error = answer.expect_err("it is another one");
        assert!(matches!(&error, Error::SchemaConflict { key: told } if *told == key), "{error:?}");
        assert_eq!((error.code(), error.retryable()), (Code::Conflict, false));
    };
    refused(set(Some("{}"), is("{}")).await);
    set(Some("{}"), ExpectSchema::Missing).await.expect("there is none");
    refused(set(Some(other.as_str()), ExpectSchema::Missing).await);
    refused(set(None, is("{ }")).await);
    assert_eq!(config.get_schema(&key).await.expect("reads").as_deref(), Some("{}"), "nothing was changed");
    set(Some(other.as_str()), is("{}")).await.expect("it is that one");
    set(None, is(&other)).await.expect("it is that one");
    set(None, ExpectSchema::Missing).await.expect("there is none");
}
