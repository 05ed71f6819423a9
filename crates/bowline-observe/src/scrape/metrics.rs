//! What scraping counts about itself.

use bowline_runtime::metric::{Counter, Gauge, Histogram, Registry};

use super::status::Health;
use crate::source::Appended;

/// What became of a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    None,
    Unreachable,
    Timeout,
    Answer,
    Malformed,
    TooLarge,
    SampleLimit,
}

/// The cells, looked up once.
#[derive(Debug)]
pub(crate) struct Metrics {
    scrapes: [Counter; 8],
    targets: [Gauge; 4],
    pub(crate) duration: Histogram,
    pub(crate) samples: Counter,
    pub(crate) exemplars_dropped: Counter,
    pub(crate) duplicate: Counter,
    pub(crate) future: Counter,
    pub(crate) series_refused: Counter,
    out_of_order: Counter,
    too_old: Counter,
    same_time: Counter,
    unknown: Counter,
    queue_full: Counter,
    pub(crate) metadata_dropped: Counter,
    pub(crate) target_duplicate: Counter,
    pub(crate) target_too_many: Counter,
}

/// Each outcome with its label, in the order of declaration.
const OUTCOMES: [(Outcome, &str); 8] = [
    (Outcome::Ok, "ok"),
    (Outcome::None, "none"),
    (Outcome::Unreachable, "unreachable"),
    (Outcome::Timeout, "timeout"),
    (Outcome::Answer, "answer"),
    (Outcome::Malformed, "malformed"),
    (Outcome::TooLarge, "too_large"),
    (Outcome::SampleLimit, "sample_limit"),
];

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        let dropped = |reason| {
            let help = "Scraped samples that were not kept.";
            registry.counter("bowline_scrape_samples_dropped_total", help, &[("reason", reason)])
        };
        let refused = |reason| {
            let help = "Scrape targets that are not asked.";
            registry.counter("bowline_scrape_targets_refused_total", help, &[("reason", reason)])
        };
        let counter = |name, help| registry.counter(name, help, &[]);
        Self {
            scrapes: OUTCOMES.map(|(_, outcome)| {
                registry.counter("bowline_scrapes_total", "Scrapes, by what became of them.", &[("outcome", outcome)])
            }),
            targets: Health::ALL.map(|health| {
                let labels = &[("health", health.as_str())];
                registry.gauge("bowline_scrape_targets", "Scrape targets, by how they are.", labels)
            }),
            duration: registry.histogram("bowline_scrape_duration_seconds", "How long scrapes took.", &[]),
            samples: counter("bowline_scrape_samples_total", "Samples that scrapes brought and that were kept."),
            exemplars_dropped: counter(
                "bowline_scrape_exemplars_dropped_total",
                "Exemplars that were read and not kept: nothing keeps them.",
            ),
            metadata_dropped: counter(
                "bowline_scrape_metadata_dropped_total",
                "Descriptions of metrics that were not kept: a target has too many.",
            ),
            duplicate: dropped("duplicate"),
            future: dropped("future"),
            series_refused: dropped("series_refused"),
            out_of_order: dropped("out_of_order"),
            too_old: dropped("too_old"),
            same_time: dropped("same_time"),
            unknown: dropped("unknown_series"),
            queue_full: dropped("queue_full"),
            target_duplicate: refused("duplicate"),
            target_too_many: refused("too_many"),
        }
    }

    pub(crate) fn count(&self, outcome: Outcome) {
        if let Some((_, scrapes)) = OUTCOMES.iter().zip(&self.scrapes).find(|((known, _), _)| *known == outcome) {
            scrapes.increment();
        }
    }

    /// Moves a scrape target from one state to another; none: it comes, or goes.
    pub(crate) fn moved(&self, from: Option<Health>, to: Option<Health>) {
        for (health, targets) in Health::ALL.iter().zip(&self.targets) {
            targets.add(i64::from(to == Some(*health)) - i64::from(from == Some(*health)));
        }
    }

    pub(crate) fn appended(&self, appended: Appended) {
        let Appended { kept, out_of_order, duplicate, unknown, too_new, too_old, refused } = appended;
        self.samples.add(kept as u64);
        self.out_of_order.add(out_of_order as u64);
        self.same_time.add(duplicate as u64);
        self.unknown.add(unknown as u64);
        self.future.add(too_new as u64);
        self.too_old.add(too_old as u64);
        self.queue_full.add(refused as u64);
    }
}
