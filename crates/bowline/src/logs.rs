//! What an application says of itself: to standard error, each line with the trace that it belongs to.

use std::{env, fmt, io};

use bowline_telemetry::current;
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    filter::Targets,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer},
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

/// What is logged: a level, or `TARGET=LEVEL` and so on, parted by commas.
const VARIABLE: &str = "BOWLINE_LOG";

/// Begins to log, unless the application does so by itself.
pub(crate) fn begin() {
    let wanted = env::var(VARIABLE).unwrap_or_default();
    let (filter, unusable) = match wanted.parse::<Targets>() {
        Ok(filter) if !wanted.is_empty() => (filter, None),
        Ok(_) => (warnings(), None),
        Err(error) => (warnings(), Some(error)),
    };
    let lines = tracing_subscriber::fmt::layer().event_format(Traced(Format::default().with_ansi(false)));
    let lines = lines.with_writer(io::stderr);
    let is_first = tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok();
    if let Some(error) = unusable.filter(|_| is_first) {
        tracing::warn!(%error, "{VARIABLE} cannot be used: only warnings are shown");
    }
}

fn warnings() -> Targets {
    Targets::new().with_default(tracing::Level::WARN)
}

/// A line as usual, behind the trace in which it was said.
struct Traced(Format<Full>);

impl<S, N> FormatEvent<S, N> for Traced
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if let Some(span) = current::context() {
            write!(out, "trace={} ", span.trace_id)?;
        }
        self.0.format_event(context, out, event)
    }
}
