//! What is logged by any thread of a test's process, line by line, as fields.

use std::{collections::BTreeMap, fmt::Debug};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// A line's fields, its message among them.
pub type Line = BTreeMap<&'static str, String>;

/// Hands every line that is logged from now on, at that level or above, to `sink`.
///
/// # Panics
/// When somebody listens already: there is one listener in a process.
pub fn listen(least: Level, sink: fn(Line)) {
    tracing::subscriber::set_global_default(Listener { least, sink }).expect("nobody listens yet");
}

struct Listener {
    least: Level,
    sink: fn(Line),
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.least
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        (self.sink)(fields.0);
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
