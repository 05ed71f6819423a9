//! Documents against schemas, good and bad ones of both.

use bowline_config::Document;
use serde_json::json;

use super::*;

fn key(text: &str) -> ConfigKey {
    ConfigKey::new(text).unwrap()
}

fn judge() -> Judge {
    Judge::default()
}

fn toml(text: &str) -> Document {
    Document::new(Format::Toml, text)
}

/// Path and rule of each violation.
#[track_caller]
fn broken(schema: &Value, document: &Document) -> Vec<(String, String)> {
    let violations = judge().check(&key("shop/order"), document, Some(&schema.to_string())).unwrap_err();
    violations.into_iter().map(|violation| (violation.path, violation.rule)).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(path, rule)| ((*path).to_owned(), (*rule).to_owned())).collect()
}

#[test]
fn violations_name_path_and_rule_and_no_value() {
    let schema = json!({
        "type": "object",
        "required": ["items_max", "currency"],
        "additionalProperties": false,
        "properties": {
            "items_max": {"type": "integer", "maximum": 100},
            "currency": {"enum": ["EUR"]},
            "hours": {"type": "array", "items": {"pattern": "^[0-9]+$"}},
            "a/b": {"type": "string"},
        },
    });
    let document = toml("items_max = 1001\nhours = [\"1\", \"secret\"]\nsurplus = \"secret\"\n\"a/b\" = 1\n");
    let mut found = broken(&schema, &document);
    found.sort();
    let expected = [
        ("", "additionalProperties"),
        ("", "required"),
        ("/a~1b", "type"),
        ("/hours/1", "pattern"),
        ("/items_max", "maximum"),
    ];
    assert_eq!(found, pairs(&expected));
    let violations = judge().check(&key("shop/order"), &document, Some(&schema.to_string())).unwrap_err();
    for violation in &violations {
        assert!(!violation.detail.contains("secret") && !violation.detail.contains("1001"), "{violation}");
    }
    let detail = |rule: &str| &*violations.iter().find(|violation| violation.rule == rule).unwrap().detail;
    assert!(detail("maximum").contains("100"), "{}", detail("maximum"));
    assert!(detail("required").contains("currency"), "{}", detail("required"));
    assert!(detail("additionalProperties").contains("surplus"), "{}", detail("additionalProperties"));
    let good = toml("items_max = 100\ncurrency = \"EUR\"");
    judge().check(&key("shop/order"), &good, Some(&schema.to_string())).unwrap();
}

#[test]
fn toml_and_text_are_judged_as_json() {
    let date = json!({"properties": {"day": {"type": "string"}}});
    judge().check(&key("shop/order"), &toml("day = 2026-01-02"), Some(&date.to_string())).unwrap();
    let text = Document::new(Format::Text, "hello");
    judge().check(&key("shop/order"), &text, Some(r#"{"type": "string", "maxLength": 5}"#)).unwrap();
    assert_eq!(broken(&json!({"maxLength": 4}), &text), pairs(&[("", "maxLength")]));
    assert_eq!(broken(&json!({"type": "object"}), &text), pairs(&[("", "type")]));
}

#[track_caller]
fn no_schema(schema: &str) -> String {
    judge().check_schema(&key("shop/order"), schema).unwrap_err()
}

#[test]
fn what_is_no_schema_is_refused_with_the_reason() {
    assert!(no_schema("{").contains("line 1"), "{}", no_schema("{"));
    for not_an_object in ["5", "true", "[]", "\"x\""] {
        assert_eq!(no_schema(not_an_object), "it is not a JSON object");
    }
    let reason = no_schema(r#"{"properties": {"a": {"type": "interger"}}}"#);
    assert!(reason.contains("/properties/a/type"), "{reason}");
    for backtracking in [r"(?=a)", r"(a)\\1"] {
        let reason = no_schema(&format!(r#"{{"pattern": "{backtracking}"}}"#));
        assert!(reason.contains("regex"), "{reason}");
    }
    judge().check_schema(&key("shop/order"), "{}").unwrap();
}

#[test]
fn references_lead_nowhere_but_into_the_schema() {
    let remote = [
        r#"{"$ref": "https://example.com/schema.json"}"#,
        r#"{"$ref": "http://127.0.0.1:1/schema.json"}"#,
        r#"{"$ref": "file:///etc/passwd"}"#,
        r#"{"$schema": "https://example.com/own"}"#,
        r#"{"$id": "https://example.com/a", "properties": {"b": {"$ref": "b.json#/c"}}}"#,
        r#"{"$dynamicRef": "https://example.com/schema.json"}"#,
    ];
    for schema in remote {
        let reason = no_schema(schema);
        assert!(!reason.contains("the value") && !reason.is_empty(), "{schema}: {reason}");
    }
    let reason = no_schema(remote[0]);
    assert!(reason.contains("https://example.com/schema.json") && reason.contains("$defs"), "{reason}");
    let own = json!({"$ref": "#/$defs/limits", "$defs": {"limits": {"required": ["a"]}}});
    assert_eq!(broken(&own, &toml("")), pairs(&[("", "required")]));
}

#[test]
fn a_schema_that_refers_to_itself_does_not_bring_us_down() {
    for endless in [
        r##"{"$ref": "#"}"##,
        r##"{"allOf": [{"$ref": "#"}]}"##,
        r##"{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}"##,
        r##"{"$dynamicRef": "#"}"##,
    ] {
        // Whatever it says of the document: it says it.
        let _either = judge().check(&key("shop/order"), &toml("a = 1"), Some(endless));
    }
    let tree = json!({"properties": {"child": {"$ref": "#"}, "n": {"maximum": 1}}});
    let document = toml("child.child.child.n = 2");
    assert_eq!(broken(&tree, &document), pairs(&[("/child/child/child/n", "maximum")]));
}

#[test]
fn long_texts_are_cut() {
    let name = "é".repeat(2000);
    let schema = json!({"required": [name]}).to_string();
    let violations = judge().check(&key("shop/order"), &toml(""), Some(&schema)).unwrap_err();
    assert_eq!(violations[0].detail.chars().count(), DETAIL_MAX + 1);
    let many = json!({"items": {"type": "string"}}).to_string();
    let document = Document::new(Format::Json, format!("[{}0]", "0,".repeat(1000)));
    assert_eq!(judge().check(&key("shop/order"), &document, Some(&many)).unwrap_err().len(), VIOLATIONS_MAX);
}

#[test]
fn traffic_is_split_between_versions_and_disturbed_by_a_mesh() {
    let split = r#"{"steering": {"order": {"split": {"v1": 95, "v2": 5}}}}"#;
    let fault = r#"{"faults": [{"id": "f1", "service": "order", "share": "1%", "abort": 503, "until_unix_ms": 1}]}"#;
    let services = Some(vec![ServiceName::new("order").unwrap()]);
    let nobody = Judge::default();
    let plain = Judge { services: services.clone(), ..Judge::default() };
    let steered = Judge { services: services.clone(), has_versions: true, ..Judge::default() };
    let meshed = Judge { services, has_mesh: true, has_versions: true, ..Judge::default() };
    let judged = |judge: &Judge, text: &str| {
        let document = Document::new(Format::Json, text);
        judge.check(&ConfigKey::traffic(), &document, None).map_err(|broken| broken[0].detail.clone())
    };
    assert!(judged(&nobody, split).unwrap_err().contains("declares no services"));
    assert!(judged(&nobody, fault).unwrap_err().contains("declares no services"));
    assert!(judged(&plain, split).unwrap_err().contains("give a service its `version`"));
    assert!(judged(&plain, fault).unwrap_err().contains("add the table [mesh]"));
    let order = r#"{"steering": {"order": {"breakers": [{"order": "open"}]}}}"#;
    assert_eq!((judged(&plain, order), judged(&meshed, order)), (Ok(()), Ok(())));
    let ajar = judged(&plain, &order.replace("open", "ajar")).unwrap_err();
    assert!(ajar.contains("unknown variant `ajar`"), "{ajar}");
    let by_nobody = order.replace(r#""order": "open""#, r#""order": "open", "caller": "service/bank""#);
    assert!(judged(&plain, &by_nobody).unwrap_err().contains("no service `bank`"));
    for nothing in ["{}", r#"{"steering": {"gone": {}}, "faults": []}"#] {
        assert_eq!(judged(&nobody, nothing), Ok(()), "it takes back what was said before");
    }
    assert_eq!((judged(&steered, split), judged(&meshed, split)), (Ok(()), Ok(())));
    assert!(judged(&steered, fault).unwrap_err().contains("add the table [mesh]"));
    assert_eq!(judged(&meshed, fault), Ok(()));
    assert!(judged(&steered, &split.replace("order", "other")).unwrap_err().contains("no service `other`"));
}

#[test]
fn the_platforms_own_documents_are_judged_by_it() {
    let rule = |judge: &Judge, key: &ConfigKey, document: &Document| {
        let violations = judge.check(key, document, None).unwrap_err();
        (violations[0].rule.clone(), violations[0].detail.clone())
    };
    let (is, detail) = rule(&judge(), &ConfigKey::routes(), &toml(""));
    assert_eq!((&*is, &*detail), ("reserved", "this server has no gateway to take routes"));
    let bad = || Err(vec![violation("/route/0".to_owned(), "backends", "a route leads somewhere".to_owned())]);
    let check = RoutesCheck::new(move |text| if text.is_empty() { Ok(()) } else { bad() });
    let judge = Judge { routes: Some(check), ..Judge::default() };
    judge.check(&ConfigKey::routes(), &toml(""), None).unwrap();
    assert_eq!(rule(&judge, &ConfigKey::routes(), &toml("a = 1")).0, "backends");
    assert_eq!(rule(&judge, &ConfigKey::routes(), &Document::new(Format::Json, "{}")).0, "reserved");
    let (_, detail) = rule(&judge, &key("bowline/other"), &toml(""));
    assert!(detail.contains("bowline/other") && detail.contains("bowline/routes"), "{detail}");
    assert!(judge.check_schema(&ConfigKey::routes(), "{}").is_err());
}
