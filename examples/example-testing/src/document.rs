//! The document of an API, as OpenAPI has it, held against what a service does.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::Answer;

/// What of a path are operations; beside them it may have what they share.
const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// The document of an API.
#[derive(Debug)]
pub struct Document(Value);

impl Document {
    /// Reads what a file has.
    ///
    /// # Panics
    /// When it is no document.
    pub fn read(yaml: &str) -> Self {
        let document: Value = serde_saphyr::from_str(yaml).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        Self(document)
    }

    /// Checks that it has these operations, by method and path, and no others.
    ///
    /// # Panics
    /// When it has not.
    #[track_caller]
    pub fn check_operations<'a>(&self, routed: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let routed: BTreeSet<_> = routed.into_iter().map(|(method, path)| (method.to_lowercase(), path)).collect();
        let mut described = BTreeSet::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            let methods = item.as_object().unwrap().keys().filter(|key| METHODS.contains(&key.as_str()));
            described.extend(methods.map(|method| (method.clone(), path.as_str())));
        }
        assert_eq!(described, routed);
    }

    /// Checks that a schema has these members and no others, each of which it requires.
    ///
    /// # Panics
    /// When it has not.
    #[track_caller]
    pub fn check_members<'a>(&self, schema: &str, members: impl IntoIterator<Item = &'a str>) {
        let schema = self.schema(schema);
        let members: BTreeSet<_> = members.into_iter().collect();
        let described: BTreeSet<_> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        let required: BTreeSet<_> =
            schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert_eq!((&described, &required), (&members, &members));
    }

    /// A schema of it, by name.
    pub fn schema(&self, name: &str) -> &Value {
        &self.0["components"]["schemas"][name]
    }

    /// Checks that it has that answer of an operation.
    ///
    /// # Panics
    /// When it has not.
    #[track_caller]
    pub(crate) fn check(&self, method: &str, path: &str, answer: &Answer) {
        let Answer { status, content_type, body } = answer;
        let mut described = &self.operation(method, path)["responses"][status.to_string()];
        assert!(!described.is_null(), "{method} {path} answers {status}, which is not described: {body}");
        if let Some(reference) = described["$ref"].as_str() {
            described = self.0.pointer(reference.strip_prefix('#').unwrap()).unwrap();
        }
        let content = &described["content"];
        if content_type.is_empty() {
            assert!(content.is_null(), "{method} {path} answers {status} without a body");
            return;
        }
        let media_type = content_type.split(';').next().unwrap();
        let content = &content[media_type];
        assert!(!content.is_null(), "{method} {path} answers {status} as {content_type}, which is not described");
        let schema = json!({"components": self.0["components"], "allOf": [content["schema"]]});
        let instance = if media_type.ends_with("json") { answer.value() } else { json!(body) };
        let validator = jsonschema::validator_for(&schema).unwrap();
        let faults: Vec<_> = validator.iter_errors(&instance).map(|error| error.to_string()).collect();
        assert!(faults.is_empty(), "{method} {path} answers {body}: {faults:?}");
    }

    /// The operation of a request.
    fn operation(&self, method: &str, path: &str) -> &Value {
        let parts: Vec<_> = path.split('?').next().unwrap().split('/').collect();
        let fits = |template: &str| {
            let wanted: Vec<_> = template.split('/').collect();
            let fits = |(part, wanted): (&&str, &&str)| part == wanted || wanted.starts_with('{');
            parts.len() == wanted.len() && parts.iter().zip(&wanted).all(fits)
        };
        let found = self.0["paths"].as_object().unwrap().iter().find(|(template, _)| fits(template));
        &found.unwrap_or_else(|| panic!("{path} is not described")).1[method.to_lowercase()]
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    const DOCUMENT: &str = r##"
openapi: 3.1.0
paths:
  /things/{id}:
    parameters: []
    get:
      responses:
        "200": { content: { application/json: { schema: { $ref: "#/components/schemas/Thing" } } } }
        "404": { $ref: "#/components/responses/None" }
    delete:
      responses:
        "204": { description: It is gone. }
components:
  responses:
    None: { content: { text/plain: { schema: { type: string, maxLength: 3 } } } }
  schemas:
    Thing: { type: object, required: [id], properties: { id: { type: string } } }
"##;

    fn answer(status: u16, content_type: &str, body: &str) -> Answer {
        Answer { status, content_type: content_type.to_owned(), body: body.to_owned() }
    }

    #[test]
    fn what_is_described_passes_and_nothing_else() {
        let document = Document::read(DOCUMENT);
        document.check_operations([("GET", "/things/{id}"), ("DELETE", "/things/{id}")]);
        document.check_members("Thing", ["id"]);
        let is_described = |method: &str, path: &str, answer: Answer| {
            catch_unwind(AssertUnwindSafe(|| document.check(method, path, &answer))).is_ok()
        };
        for (method, path, answer, expect) in [
            ("GET", "/things/a?b=c", answer(200, "application/json", r#"{"id":"a"}"#), true),
            ("GET", "/things/a", answer(200, "application/json", r#"{"id":1}"#), false),
            ("GET", "/things/a", answer(200, "text/plain", "a"), false),
            ("GET", "/things/a", answer(404, "text/plain; charset=utf-8", "no"), true),
            ("GET", "/things/a", answer(404, "text/plain", "none"), false),
            ("GET", "/things/a", answer(404, "", ""), false),
            ("GET", "/things/a", answer(500, "", ""), false),
            ("GET", "/things", answer(200, "application/json", "{}"), false),
            ("PUT", "/things/a", answer(200, "application/json", r#"{"id":"a"}"#), false),
            ("DELETE", "/things/a", answer(204, "", ""), true),
        ] {
            assert_eq!(is_described(method, path, answer), expect, "{method} {path}");
        }
        for members in [&[][..], &["id", "name"]] {
            catch_unwind(AssertUnwindSafe(|| document.check_members("Thing", members.iter().copied()))).unwrap_err();
        }
        catch_unwind(AssertUnwindSafe(|| document.check_operations([("GET", "/things/{id}")]))).unwrap_err();
    }
}
