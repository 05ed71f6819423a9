//! The metric cells of a route, found by status code without formatting a label.

use std::{sync::OnceLock, time::Duration};

use bowline_runtime::metric::{Counter, Histogram, Registry};
use bowline_telemetry::names;

/// Status codes that share a page; pages are made when the first of their codes is met.
const PAGE: usize = 16;
/// Codes run from 100 to 999 (RFC 9110 15).
const PAGES: usize = 1000 / PAGE + 1;

/// The `bowline_requests_total` and `bowline_request_duration_seconds` of one route and service.
///
/// Shared by all workers. A cell is looked up in the registry when its code is first met; after
/// that, counting costs three atomic additions.
#[derive(Debug)]
pub(crate) struct Cells {
    registry: Registry,
    reporter: &'static str,
    service: String,
    route: String,
    pages: Box<[Page; PAGES]>,
}

type Page = OnceLock<Box<[OnceLock<Cell>; PAGE]>>;

#[derive(Debug)]
struct Cell {
    requests: Counter,
    duration: Histogram,
}

impl Cells {
    pub(crate) fn new(registry: &Registry, reporter: &'static str, service: &str, route: &str) -> Self {
        Self {
            registry: registry.clone(),
            reporter,
            service: service.to_owned(),
            route: route.to_owned(),
            pages: Box::new([const { OnceLock::new() }; PAGES]),
        }
    }

    /// Counts one request that was answered with `code`.
    pub(crate) fn record(&self, code: u16, duration: Duration) {
        let at = usize::from(code).min(PAGES * PAGE - 1);
        let page = self.pages[at / PAGE].get_or_init(|| Box::new([const { OnceLock::new() }; PAGE]));
        let cell = page[at % PAGE].get_or_init(|| self.cell(code));
        cell.requests.increment();
        cell.duration.record(duration);
    }

    fn cell(&self, code: u16) -> Cell {
        let code = code.to_string();
        let labels = [
            (names::LABEL_REPORTER, self.reporter),
            (names::LABEL_SERVICE, &self.service),
            (names::LABEL_ROUTE, &self.route),
            (names::LABEL_CODE, &code),
        ];
        Cell {
            requests: self.registry.counter(names::REQUESTS_TOTAL, "Requests answered.", &labels),
            duration: self.registry.histogram(names::REQUEST_DURATION_SECONDS, "How long requests took.", &labels),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_own_series() {
        let registry = Registry::default();
        let cells = Cells::new(&registry, "gateway", "order", "orders");
        for code in [200, 200, 499, 599, 999] {
            cells.record(code, Duration::from_millis(1));
        }
        let text = registry.render();
        for (code, count) in [(200, 2), (499, 1), (599, 1), (999, 1)] {
            let labels = format!(r#"{{reporter="gateway",service="order",route="orders",code="{code}"}}"#);
            assert!(text.contains(&format!("bowline_requests_total{labels} {count}\n")), "{text}");
            assert!(text.contains(&format!("bowline_request_duration_seconds_count{labels} {count}\n")), "{text}");
        }
    }
}
