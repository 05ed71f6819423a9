//! What spans say of calls by their attributes: the service graph and the observation of a system read it alike.

use bowline_telemetry::{SpanData, SpanKind, names};

/// The longest name that attributes give, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// A database, as a span of its client names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Database {
    /// Of what kind: `sqlite`.
    pub(crate) system: String,
    /// Which: `order.db`.
    pub(crate) namespace: Option<String>,
}

/// A text that is neither empty nor too long.
pub(crate) fn text(span: &SpanData, key: &str) -> Option<String> {
    let text = span.attribute(key)?.to_string();
    (!text.is_empty() && text.len() <= NAME_BYTES_MAX).then_some(text)
}

/// The service that a span calls.
pub(crate) fn service(span: &SpanData) -> Option<String> {
    text(span, names::BOWLINE_BACKEND).or_else(|| text(span, names::PEER_SERVICE))
}

/// Whom a span calls, whatever that is.
pub(crate) fn peer(span: &SpanData) -> Option<String> {
    let text = |key: &str| text(span, key);
    match span.kind {
        SpanKind::Producer => {
            text(names::MESSAGING_DESTINATION_NAME).or_else(|| service(span)).or_else(|| text("messaging.system"))
        }
        SpanKind::Client => service(span)
            .or_else(|| database(span).map(Database::name))
            .or_else(|| text(names::MESSAGING_DESTINATION_NAME))
            .or_else(|| text(names::SERVER_ADDRESS)),
        // A proxy has one span for what it answers and what it asks.
        SpanKind::Internal | SpanKind::Server | SpanKind::Consumer => text(names::BOWLINE_BACKEND),
    }
}

/// The database that a span asks.
pub(crate) fn database(span: &SpanData) -> Option<Database> {
    let system = text(span, "db.system.name").or_else(|| text(span, "db.system"))?;
    let namespace = text(span, "db.namespace").or_else(|| text(span, "db.name"));
    Some(Database { system, namespace })
}

/// Whether it stands for one call as its caller sees it.
pub(crate) fn is_call(span: &SpanData) -> bool {
    span.kind == SpanKind::Client || span.attribute(names::BOWLINE_BACKEND).is_some()
}

/// Whether spans of that kind answer somebody.
pub(crate) fn is_answer(kind: SpanKind) -> bool {
    matches!(kind, SpanKind::Server | SpanKind::Consumer)
}

impl Database {
    /// As `postgresql:shop`.
    fn name(self) -> String {
        let Self { system, namespace } = self;
        namespace.map_or_else(|| system.clone(), |namespace| format!("{system}:{namespace}"))
    }
}
