//! What the proxy's own threads log, for tests to look at.

use std::{
    collections::BTreeMap,
    sync::{Mutex, Once, PoisonError},
};

use bowline_testkit::logs;
pub(crate) use bowline_testkit::logs::Line;
use tracing::Level;

/// The lines about the routes that tests asked for.
static LINES: Mutex<BTreeMap<&'static str, Vec<Line>>> = Mutex::new(BTreeMap::new());

/// Listens from now on to what is logged about a route, at info or above.
pub(crate) fn of(route: &'static str) -> Lines {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| logs::listen(Level::INFO, keep));
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

fn keep(line: Line) {
    let route = line.get("route").map_or("", String::as_str);
    if let Some(lines) = LINES.lock().unwrap_or_else(PoisonError::into_inner).get_mut(route) {
        lines.push(line);
    }
}
