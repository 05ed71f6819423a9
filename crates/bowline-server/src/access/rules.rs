//! Which role each operation demands: one table, which the tests hold against the OpenAPI document.

use bowline_model::ConfigKey;
use bowline_provider_remote::wire::Role;

use crate::console;

/// What an operation demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Demand {
    /// The least role; none: no credential, wherever the API listens.
    pub(crate) least: Option<Role>,
    /// Whether a credential is demanded on loopback too.
    pub(crate) on_loopback: bool,
}

impl Demand {
    /// Whether it changes nothing, whatever its method: whoever may read may ask it.
    pub(crate) fn is_question(self) -> bool {
        self.least == Some(Role::Viewer)
    }
}

/// Everybody may.
const OPEN: Demand = Demand { least: None, on_loopback: false };
/// Reads.
const VIEWER: Demand = Demand { least: Some(Role::Viewer), on_loopback: false };
/// Changes what runs.
const EDITOR: Demand = Demand { least: Some(Role::Editor), on_loopback: false };
/// Lends identity, or weakens a rule.
const GUARDED: Demand = Demand { least: Some(Role::Admin), on_loopback: true };

/// Method and path as in the OpenAPI document, and what they demand.
const RULES: [(&str, &str, Demand); 96] = [
    ("GET", "/livez", OPEN),
    ("GET", "/readyz", OPEN),
    ("GET", "/metrics", VIEWER),
    ("GET", "/openapi.json", VIEWER),
    ("GET", "/v1/server", VIEWER),
    ("GET", "/v1/health", VIEWER),
    ("GET", "/v1/health/{service}", VIEWER),
    ("GET", "/v1/services", VIEWER),
    ("GET", "/v1/instances", VIEWER),
    ("PUT", "/v1/instances/{id}", EDITOR),
    ("DELETE", "/v1/instances/{id}", EDITOR),
    ("POST", "/v1/instances/{id}/heartbeat", EDITOR),
    ("POST", "/v1/heartbeats", EDITOR),
    ("GET", "/v1/config", VIEWER),
    ("GET", "/v1/config/{namespace}/{name}", VIEWER),
    ("PUT", "/v1/config/{namespace}/{name}", EDITOR),
    ("DELETE", "/v1/config/{namespace}/{name}", EDITOR),
    // Who may not publish is not told whether it would be.
    ("POST", "/v1/config/{namespace}/{name}/check", EDITOR),
    ("GET", "/v1/config/{namespace}/{name}/history", VIEWER),
    ("POST", "/v1/config/{namespace}/{name}/rollback", EDITOR),
    ("GET", "/v1/config/{namespace}/{name}/schema", VIEWER),
    ("PUT", "/v1/config/{namespace}/{name}/schema", EDITOR),
    ("DELETE", "/v1/config/{namespace}/{name}/schema", EDITOR),
    ("GET", "/v1/config/{namespace}/{name}/status", VIEWER),
    ("PUT", "/v1/config/{namespace}/{name}/status/{instance}", EDITOR),
    ("GET", "/v1/deployments", VIEWER),
    ("GET", "/v1/deployments/{service}", VIEWER),
    // What it says is run, on the server's machine and as its user.
    ("POST", "/v1/deployments/{service}", GUARDED),
    ("POST", "/v1/deployments/{service}/pause", EDITOR),
    ("POST", "/v1/deployments/{service}/resume", EDITOR),
    // What is rolled out may hold an editor's token: it must not decide of itself.
    ("POST", "/v1/deployments/{service}/promote", GUARDED),
    ("POST", "/v1/deployments/{service}/abort", GUARDED),
    ("GET", "/v1/topics", VIEWER),
    ("PUT", "/v1/topics/{topic}", EDITOR),
    ("POST", "/v1/topics/{topic}/messages", EDITOR),
    // What messages hold is the business of those who work with it.
    ("GET", "/v1/topics/{topic}/messages", EDITOR),
    ("POST", "/v1/messages", EDITOR),
    ("POST", "/v1/topics/{topic}/groups/{group}/subscribe", EDITOR),
    ("POST", "/v1/subscriptions/{session}/answers", EDITOR),
    ("POST", "/v1/topics/{topic}/groups/{group}/seek", EDITOR),
    ("DELETE", "/v1/topics/{topic}/groups/{group}", EDITOR),
    ("GET", "/v1/topics/{topic}/dead", EDITOR),
    ("POST", "/v1/topics/{topic}/dead/redrive", EDITOR),
    ("POST", "/v1/topics/{topic}/dead/purge", EDITOR),
    // It changes nothing, and tells what a reader of the routes knows.
    ("POST", "/v1/explain", VIEWER),
    ("POST", "/v1/spans", EDITOR),
    ("GET", "/v1/traces", VIEWER),
    ("GET", "/v1/traces/{id}", VIEWER),
    ("GET", "/v1/service-graph", VIEWER),
    ("GET", "/v1/observed", VIEWER),
    ("GET", "/v1/system", VIEWER),
    // It says that something changed, not what.
    ("GET", "/v1/events", VIEWER),
    ("GET", "/v1/changes", VIEWER),
    ("GET", "/v1/logs/{service}", VIEWER),
    // Prometheus' API: what it shows, whoever may read sees.
    ("GET", "/api/v1/query", VIEWER),
    ("POST", "/api/v1/query", VIEWER),
    ("GET", "/api/v1/query_range", VIEWER),
    ("POST", "/api/v1/query_range", VIEWER),
    ("GET", "/api/v1/series", VIEWER),
    ("POST", "/api/v1/series", VIEWER),
    ("GET", "/api/v1/labels", VIEWER),
    ("POST", "/api/v1/labels", VIEWER),
    ("GET", "/api/v1/label/{name}/values", VIEWER),
    ("GET", "/api/v1/query_exemplars", VIEWER),
    ("POST", "/api/v1/query_exemplars", VIEWER),
    ("GET", "/api/v1/status/buildinfo", VIEWER),
    ("GET", "/api/v1/targets", VIEWER),
    ("GET", "/api/v1/metadata", VIEWER),
    ("GET", "/api/v1/rules", VIEWER),
    ("GET", "/api/v1/alerts", VIEWER),
    ("GET", "/v1/alerts/history", VIEWER),
    ("GET", "/v1/alerts/notifications", VIEWER),
    ("GET", "/v1/alerts/silences", VIEWER),
    ("POST", "/v1/alerts/silences", EDITOR),
    ("DELETE", "/v1/alerts/silences/{id}", EDITOR),
    ("POST", "/v1/alerts/receivers/{name}/test", EDITOR),
    ("GET", "/v1/breakers", VIEWER),
    ("GET", "/v1/caches", VIEWER),
    // What they hold is the business of those who work with it.
    ("GET", "/v1/shared-caches/{cache}/entries/{key}", EDITOR),
    ("PUT", "/v1/shared-caches/{cache}/entries/{key}", EDITOR),
    ("POST", "/v1/shared-caches/{cache}/invalidate", EDITOR),
    ("POST", "/v1/shared-caches/{cache}/clear", EDITOR),
    ("GET", "/v1/sagas", VIEWER),
    ("GET", "/v1/sagas/{service}/{id}", VIEWER),
    ("POST", "/v1/sagas/{service}/{id}/retry", EDITOR),
    // Whoever has no credential yet, or none any more, comes there for one.
    ("GET", SESSION, OPEN),
    ("POST", SESSION, OPEN),
    ("DELETE", SESSION, OPEN),
    ("GET", "/v1/audit", VIEWER),
    ("GET", "/v1/tokens", GUARDED),
    ("POST", "/v1/tokens", GUARDED),
    ("DELETE", "/v1/tokens/{id}", GUARDED),
    ("POST", "/v1/mesh/join-tokens", GUARDED),
    // It carries a proof of its own, which the authority judges.
    ("POST", CERTIFICATES, OPEN),
    ("GET", "/v1/mesh/roots", OPEN),
    ("GET", "/v1/mesh/status", VIEWER),
];

/// Where browsers sign in and out.
const SESSION: &str = "/v1/session";

/// Where certificates are issued.
const CERTIFICATES: &str = "/v1/mesh/certificates";

/// Where instances tell what they make of a document: that is no change of it.
const ACKNOWLEDGEMENT: &str = "/v1/config/{namespace}/{name}/status/{instance}";

/// The beginning of the paths of documents, behind which their namespace stands.
const CONFIG_PREFIX: &str = "/v1/config/{";

/// What a request demands; `template` is the path it matched, `first` that path's first parameter.
///
/// Where nothing matches, nothing is done: whoever may read is told so. A path without a rule is
/// closed.
pub(crate) fn demand(method: &str, template: Option<&str>, first: Option<&str>) -> Demand {
    let Some(template) = template else { return VIEWER };
    // They are files of the release, and in no document.
    if console::PATHS.contains(&template) {
        return OPEN;
    }
    // What answers GET answers HEAD.
    let method = if method == "HEAD" { "GET" } else { method };
    // Routes are such a document: with them, a rule of the gateway could be weakened.
    let is_reserved = template.starts_with(CONFIG_PREFIX) && first.is_some_and(ConfigKey::is_reserved_namespace);
    // What an instance makes of a version changes nothing of it: gateways and sidecars say it.
    if is_reserved && method != "GET" && template != ACKNOWLEDGEMENT {
        return GUARDED;
    }
    let of_path = || RULES.iter().filter(|(_, path, _)| *path == template);
    match of_path().find(|(known, _, _)| *known == method) {
        Some((_, _, demand)) => *demand,
        // The router answers that the method is not for this path.
        None if of_path().next().is_some() => VIEWER,
        None => GUARDED,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_has_one_rule_and_every_rule_an_operation() {
        let document = serde_json::to_value(crate::openapi()).unwrap();
        let mut operations = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in ["get", "put", "post", "delete", "patch", "options", "head", "trace"] {
                if item.get(method).is_some() {
                    operations.insert((method.to_uppercase(), path.clone()));
                }
            }
        }
        let rules: BTreeSet<_> =
            RULES.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
        assert_eq!(rules, operations);
        assert_eq!(rules.len(), RULES.len(), "one rule each");
    }

    #[test]
    fn what_changes_something_demands_an_editor_at_least() {
        for (method, path, demand) in RULES {
            match method {
                "GET" => {}
                // They are questions with a body.
                _ if path == "/v1/explain" || path.starts_with("/api/v1/") => assert_eq!(demand, VIEWER),
                _ if [CERTIFICATES, SESSION].contains(&path) => assert_eq!(demand, OPEN),
                _ => assert!(demand.least >= Some(Role::Editor), "{method} {path}"),
            }
        }
    }

    #[test]
    fn what_has_no_rule_is_closed() {
        assert_eq!(demand("GET", Some("/v1/forgotten"), None), GUARDED);
        assert_eq!(demand("PATCH", Some("/v1/services"), None), VIEWER);
        assert_eq!(demand("GET", None, None), VIEWER);
        assert_eq!(demand("HEAD", Some("/livez"), None), OPEN);
        assert_eq!(demand("GET", Some("/ui/{*path}"), None), OPEN);
        assert_eq!(demand("HEAD", Some("/v1/tokens"), None), GUARDED);
    }

    #[test]
    fn bowlines_own_documents_are_an_administrators() {
        let acknowledged = "/v1/config/{namespace}/{name}/status/{instance}";
        assert_eq!(demand("PUT", Some(acknowledged), Some("bowline")), EDITOR);
        for rest in ["", "/check", "/rollback"] {
            let path = &*format!("/v1/config/{{namespace}}/{{name}}{rest}");
            for method in ["PUT", "POST", "DELETE", "PATCH"] {
                for namespace in ["bowline", "bowline.service"] {
                    assert_eq!(demand(method, Some(path), Some(namespace)), GUARDED, "{method} {path}");
                }
                assert_ne!(demand(method, Some(path), Some("bowlines")), GUARDED, "{method} {path}");
            }
        }
        assert_eq!(demand("PUT", Some("/v1/instances/{id}"), Some("bowline")), EDITOR, "no namespace");
        assert_eq!(demand("PUT", Some(ACKNOWLEDGEMENT), Some("bowline.service")), EDITOR, "what sidecars tell");
    }
}
