//! Who acts: known to all that a request does, down to the store.

use std::net::SocketAddr;

use bowline_provider_remote::wire::{AuditActor, Role};

use crate::secret;

tokio::task_local! {
    static ACTING: Acting;
}

/// The longest operation that is remembered, in bytes.
const OPERATION_BYTES_MAX: usize = 256;

/// Who does what.
#[derive(Debug, Clone)]
pub(crate) struct Acting {
    pub(crate) actor: AuditActor,
    /// The request; none for what this process does by itself.
    pub(crate) operation: Option<String>,
}

/// Whoever sends a request: the holder of a token, or nobody in particular.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) role: Role,
}

impl Acting {
    /// A request from an address, by the holder of a token or by nobody in particular.
    pub(crate) fn new(holder: Option<Holder>, peer: Option<SocketAddr>, method: &str, path: &str) -> Self {
        let address = peer.map(|peer| peer.to_string());
        let actor = match holder {
            None => AuditActor::Anonymous { address },
            Some(Holder { id, name, role }) => AuditActor::Token { id, name, role, address },
        };
        let mut operation = format!("{method} {}", without_tokens(path));
        operation.truncate(operation.floor_char_boundary(OPERATION_BYTES_MAX));
        Self { actor, operation: Some(operation) }
    }

    /// This process by itself.
    fn process() -> Self {
        Self { actor: AuditActor::Bowline, operation: None }
    }
}

/// The path without the tokens that somebody took for ids: it is logged and kept.
fn without_tokens(path: &str) -> String {
    let shown = |part| if secret::token_id(part).is_some() { "(a token)" } else { part };
    path.split('/').map(shown).collect::<Vec<_>>().join("/")
}

/// Who acts in this task.
pub(crate) fn current() -> Acting {
    ACTING.try_with(Clone::clone).unwrap_or_else(|_| Acting::process())
}

/// Whether who acts in this task may do what that role may. Whoever has no token is known by that
/// alone, and this process may everything.
pub(crate) fn has_role(least: Role) -> bool {
    match current().actor {
        AuditActor::Bowline => true,
        AuditActor::Anonymous { .. } => false,
        AuditActor::Token { role, .. } => role >= least,
    }
}

/// What an actor is called.
pub(crate) fn name(actor: &AuditActor) -> &str {
    match actor {
        AuditActor::Bowline => "bowline",
        AuditActor::Anonymous { .. } => "anonymous",
        AuditActor::Token { name, .. } => name,
    }
}

/// Lets a future act as somebody.
pub(crate) async fn scope<F: Future>(acting: Acting, future: F) -> F::Output {
    ACTING.scope(acting, future).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_somebody_and_the_rest_is_bowline() {
        assert_eq!((current().actor, current().operation), (AuditActor::Bowline, None));
        assert!(has_role(Role::Admin));
        let holder = Holder { id: "ab".to_owned(), name: "ci".to_owned(), role: Role::Editor };
        scope(Acting::new(Some(holder), None, "PUT", "/v1/a"), async {
            assert_eq!(name(&current().actor), "ci");
            assert_eq!(current().operation.as_deref(), Some("PUT /v1/a"));
            assert!(has_role(Role::Editor) && !has_role(Role::Admin));
        })
        .await;
        scope(Acting::new(None, None, "PUT", &"é".repeat(500)), async {
            assert!(!has_role(Role::Viewer));
            assert!(current().operation.unwrap().len() <= OPERATION_BYTES_MAX);
        })
        .await;
    }
}
