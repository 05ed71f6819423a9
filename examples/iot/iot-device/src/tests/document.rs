//! The document of the API is what the service does: the same operations, and each answer one that it describes.

use std::{collections::BTreeSet, sync::LazyLock};

use serde_json::{Value, json};
use sqlx::Sqlite;

use crate::{api, device::State, repository::SqlDevices};

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_saphyr::from_str(include_str!("../../../openapi/device.yaml")).unwrap());

#[test]
fn the_document_has_the_operations_of_the_service() {
    let routed = api::operations::<SqlDevices<Sqlite>>();
    let routed: BTreeSet<_> = routed.iter().map(|(method, path, _)| (method.to_lowercase(), *path)).collect();
    let mut described = BTreeSet::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
        described.extend(methods.map(|method| (method.clone(), path.as_str())));
    }
    assert_eq!(described, routed);
    assert_eq!(DOCUMENT["components"]["schemas"]["State"]["enum"], json!(State::ALL));
    assert_eq!(json!(State::ALL), json!(State::ALL.map(State::word)));
}

/// Checks that the document has that answer of an operation; none has no body.
#[track_caller]
pub(super) fn check(method: &str, template: &str, status: u16, content: Option<(&str, &str)>) {
    let operation = &DOCUMENT["paths"][template][method.to_lowercase()];
    let mut answer = &operation["responses"][status.to_string()];
    assert!(!answer.is_null(), "{method} {template} answers {status}, which is not described: {content:?}");
    if let Some(reference) = answer["$ref"].as_str() {
        answer = DOCUMENT.pointer(reference.strip_prefix('#').unwrap()).unwrap();
    }
    let Some((content_type, body)) = content else {
        assert!(answer["content"].is_null(), "{method} {template} answers {status} without a body");
        return;
    };
    let content = &answer["content"][content_type];
    assert!(!content.is_null(), "{method} {template} answers {status} as {content_type}, which is not described");
    let schema = json!({"components": DOCUMENT["components"], "allOf": [content["schema"]]});
    let instance = serde_json::from_str(body).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<_> = validator.iter_errors(&instance).map(|error| error.to_string()).collect();
    assert!(faults.is_empty(), "{method} {template} answers {body}: {faults:?}");
}
