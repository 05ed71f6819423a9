//! The document of the API is what the service does: the same operations, and each answer one that it describes.

use std::{collections::BTreeSet, sync::LazyLock};

use serde_json::{Value, json};
use sqlx::Sqlite;

use crate::{api, repository::SqlAccounts};

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_saphyr::from_str(include_str!("../../../openapi/account.yaml")).unwrap());

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

#[test]
fn the_document_has_the_operations_of_the_service() {
    let routed = api::operations::<SqlAccounts<Sqlite>>();
    let routed: BTreeSet<_> =
        routed.iter().map(|(method, path, _)| (method.to_lowercase(), (*path).to_owned())).collect();
    let mut described = BTreeSet::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|key| METHODS.contains(&key.as_str())) {
            described.insert((method.clone(), path.clone()));
        }
    }
    assert_eq!(described, routed);
}

/// Checks that the document has that answer of the operation.
#[track_caller]
pub(super) fn check(method: &str, path: &str, status: u16, content_type: &str, body: &str) {
    let operation = operation(method, path);
    let mut answer = &operation["responses"][status.to_string()];
    assert!(!answer.is_null(), "{method} {path} answers {status}, which is not described: {body}");
    if let Some(reference) = answer["$ref"].as_str() {
        answer = DOCUMENT.pointer(reference.strip_prefix('#').unwrap()).unwrap();
    }
    let media_type = content_type.split(';').next().unwrap();
    let content = &answer["content"][media_type];
    assert!(!content.is_null(), "{method} {path} answers {status} as {content_type}, which is not described");
    let schema = json!({"components": DOCUMENT["components"], "allOf": [content["schema"]]});
    let instance = if media_type.ends_with("json") { serde_json::from_str(body).unwrap() } else { json!(body) };
    let faults: Vec<_> =
        jsonschema::validator_for(&schema).unwrap().iter_errors(&instance).map(|error| error.to_string()).collect();
    assert!(faults.is_empty(), "{method} {path} answers {body}: {faults:?}");
}

/// The operation of a request.
fn operation(method: &str, path: &str) -> &'static Value {
    let parts: Vec<_> = path.split('?').next().unwrap().split('/').collect();
    let fits = |template: &str| {
        let wanted: Vec<_> = template.split('/').collect();
        let fits = |(part, wanted): (&&str, &&str)| part == wanted || wanted.starts_with('{');
        parts.len() == wanted.len() && parts.iter().zip(&wanted).all(fits)
    };
    let found = DOCUMENT["paths"].as_object().unwrap().iter().find(|(template, _)| fits(template));
    &found.unwrap_or_else(|| panic!("{path} is not described")).1[method.to_lowercase()]
}
