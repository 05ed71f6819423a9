//! The document of the API is what the service does: the same operations, and each answer one that it describes.

use std::{collections::BTreeSet, sync::LazyLock};

use serde_json::{Value, json};
use sqlx::Sqlite;

use super::Asking;
use crate::{api, repository::SqlAnalytics};

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_saphyr::from_str(include_str!("../../../openapi/analytics.yaml")).unwrap());

#[test]
fn the_document_has_the_operations_of_the_service() {
    let routed = api::operations::<SqlAnalytics<Sqlite>, Asking>();
    let routed: BTreeSet<_> = routed.iter().map(|(method, path, _)| (method.to_lowercase(), *path)).collect();
    let mut described = BTreeSet::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        described.extend(item.as_object().unwrap().keys().map(|method| (method.clone(), path.as_str())));
    }
    assert_eq!(described, routed);
}

/// Checks that the document has that answer of an operation.
#[track_caller]
pub(super) fn check(method: &str, template: &str, status: u16, content_type: &str, body: &str) {
    let operation = &DOCUMENT["paths"][template][method.to_lowercase()];
    let mut answer = &operation["responses"][status.to_string()];
    assert!(!answer.is_null(), "{method} {template} answers {status}, which is not described: {body}");
    if let Some(reference) = answer["$ref"].as_str() {
        answer = DOCUMENT.pointer(reference.strip_prefix('#').unwrap()).unwrap();
    }
    let content = &answer["content"][content_type];
    assert!(!content.is_null(), "{method} {template} answers {status} as {content_type}, which is not described");
    let schema = json!({"components": DOCUMENT["components"], "allOf": [content["schema"]]});
    let instance = serde_json::from_str(body).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<_> = validator.iter_errors(&instance).map(|error| error.to_string()).collect();
    assert!(faults.is_empty(), "{method} {template} answers {body}: {faults:?}");
}
