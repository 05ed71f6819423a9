//! What the proxy's own threads log, for tests to look at.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Mutex, Once, PoisonError},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// A line's fields, its message among them.
pub(crate) type Line = BTreeMap<&'static str, String>;

/// The lines about the routes that tests asked for.
static LINES: Mutex<BTreeMap<&'static str, Vec<Line>>> = Mutex::new(BTreeMap::new());

/// Listens from now on to what is logged about a route, at info or above.
pub(crate) fn of(route: &'static str) -> Lines {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Listener).unwrap());
    LINES.lock().unwrap_or_else(PoisonError::into_inner).insert(route, Vec::new());
    Lines(route)
}

/// What is logged about one route.
pub(crate) struct Lines(&'static str);

impl Lines {
    pub(crate) fn take(self) -> Vec<Line> {
        LINES.lock().unwrap_or_else(PoisonError::into_inner).remove(self.0).unwrap()
    }
}

struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::INFO
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let route = fields.0.get("route").map_or("", String::as_str);
        if let Some(lines) = LINES.lock().unwrap_or_else(PoisonError::into_inner).get_mut(route) {
            lines.push(fields.0);
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Fields(Line);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}
