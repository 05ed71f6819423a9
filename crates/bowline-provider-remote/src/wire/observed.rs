//! What a running system was seen to do, on the wire.

use serde::{Deserialize, Serialize};

/// `GET /v1/observed`: who called whom, who touched what, and which messages broke the order of their formula, from
/// the spans of a time that ends now.
///
/// `edges` (`caller`, `callee`, `mode`, `operations` (`method`, `path`, `count`), `topics`, `is_denied`, `count`,
/// `waited`, `first_unix_ms`, `last_unix_ms`, `sample`), `uses` (`service`, `kind`, `name`, `table`, `is_written`,
/// `count`, `sample`), `breaches` (`caller`, `callee`, `mode`, `expected`, `got`, `count`, `sample`), `traces`, `spans`,
/// `since_unix_ms`, `whole_since_unix_ms`, `until_unix_ms`, `gaps` (`unread`, `deleted`, `left_out`) and the share
/// `sample` of traces that are kept. The `sample` of the others is the id of a trace that shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = Object))]
#[serde(transparent)]
pub struct Observed(pub bowline_model::observed::Observed);
