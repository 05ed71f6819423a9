//! How far behind groups are, as metrics: asked of the bus now and then, whichever it is.

use std::collections::BTreeMap;

use bowline_messaging::{MessageBus, TopicInfo};
use bowline_runtime::{
    drain::Drain,
    metric::{Gauge, Registry},
    time::{self, Duration},
};

/// How often the bus is asked.
const EVERY: Duration = Duration::from_secs(5);

/// The most groups that are measured, and the most topics: below what a metric keeps.
const MEASURED_MAX: usize = 1000;

/// What is shown of topics and groups.
struct Meter {
    metrics: Registry,
    groups: BTreeMap<(String, String), Cells>,
    topics: BTreeMap<String, Gauge>,
    unmeasured: Gauge,
}

struct Cells {
    lag: Gauge,
    oldest_age: Gauge,
}

/// Measures until the node drains.
pub(crate) async fn run(bus: std::sync::Arc<dyn MessageBus>, metrics: Registry, mut drain: Drain) {
    let mut meter = Meter::new(metrics);
    loop {
        match drain.or_drain(bus.topics()).await {
            None => return,
            Some(Ok(topics)) => meter.show(&topics, time::unix_nanos(time::wall()) / 1_000_000),
            // It is asked again soon; whoever uses the bus is told.
            Some(Err(error)) => tracing::debug!(%error, "the lag of groups is not known"),
        }
        if drain.or_drain(time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

impl Meter {
    fn new(metrics: Registry) -> Self {
        let help = "Groups that no lag is shown of: there are too many.";
        let unmeasured = metrics.gauge("bowline_messages_groups_unmeasured", help, &[]);
        Self { metrics, groups: BTreeMap::new(), topics: BTreeMap::new(), unmeasured }
    }

    fn show(&mut self, topics: &[TopicInfo], now_ms: u64) {
        // Those that are gone are behind by nothing.
        for Cells { lag, oldest_age } in self.groups.values() {
            lag.set(0);
            oldest_age.set(0);
        }
        let mut unmeasured = 0;
        for topic in topics {
            if let Some(dead) = self.dead(&topic.name) {
                dead.set(signed(topic.dead));
            }
            for group in &topic.groups {
                let Some(Cells { lag, oldest_age }) = self.cells(&topic.name, &group.name) else {
                    unmeasured += 1;
                    continue;
                };
                lag.set(signed(group.lag));
                let oldest = group.oldest_ms.map_or(now_ms, |oldest| u64::try_from(oldest).unwrap_or_default());
                oldest_age.set(signed(now_ms.saturating_sub(oldest) / 1000));
            }
        }
        self.unmeasured.set(unmeasured);
    }

    fn dead(&mut self, topic: &str) -> Option<&Gauge> {
        if !self.topics.contains_key(topic) {
            if self.topics.len() >= MEASURED_MAX {
                return None;
            }
            let help = "Dead letters that wait for somebody to decide.";
            let gauge = self.metrics.gauge("bowline_messages_dead_letters", help, &[("topic", topic)]);
            self.topics.insert(topic.to_owned(), gauge);
        }
        self.topics.get(topic)
    }

    fn cells(&mut self, topic: &str, group: &str) -> Option<&Cells> {
        let key = (topic.to_owned(), group.to_owned());
        if !self.groups.contains_key(&key) {
            if self.groups.len() >= MEASURED_MAX {
                return None;
            }
            let gauge = |name, help| self.metrics.gauge(name, help, &[("topic", topic), ("group", group)]);
            let lag = gauge("bowline_messages_lag", "Messages that the group is not done with.");
            let help = "How long ago the oldest message was published that the group is not done with.";
            let oldest_age = gauge("bowline_messages_oldest_age_seconds", help);
            self.groups.insert(key.clone(), Cells { lag, oldest_age });
        }
        self.groups.get(&key)
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use bowline_messaging::{GroupInfo, TopicSettings};

    use super::*;

    fn topic(name: &str, groups: impl Iterator<Item = (String, u64, Option<i64>)>) -> TopicInfo {
        let groups =
            groups.map(|(name, lag, oldest_ms)| GroupInfo { name, consumers: 1, lag, leased: 0, oldest_ms }).collect();
        let settings = TopicSettings::default();
        TopicInfo { name: name.to_owned(), settings, first: 1, next: 1, bytes: 0, dead: 3, groups }
    }

    #[test]
    fn groups_are_shown_as_they_are_and_not_without_end() {
        let metrics = Registry::default();
        let mut meter = Meter::new(metrics.clone());
        let mail = ("mail".to_owned(), 7, Some(1_000));
        let stock = ("stock".to_owned(), 2, None);
        meter.show(&[topic("orders", [mail, stock].into_iter())], 61_500);
        let shown = |line: &str| assert!(metrics.render().contains(line), "{line} in\n{}", metrics.render());
        shown("bowline_messages_lag{topic=\"orders\",group=\"mail\"} 7\n");
        shown("bowline_messages_oldest_age_seconds{topic=\"orders\",group=\"mail\"} 60\n");
        shown("bowline_messages_oldest_age_seconds{topic=\"orders\",group=\"stock\"} 0\n");
        shown("bowline_messages_dead_letters{topic=\"orders\"} 3\n");
        let many = (0..2 * MEASURED_MAX).map(|number| (format!("g{number:05}"), 1, None));
        meter.show(&[topic("orders", many)], 61_500);
        shown("bowline_messages_lag{topic=\"orders\",group=\"mail\"} 0\n");
        shown(&format!("bowline_messages_groups_unmeasured {}\n", MEASURED_MAX + 2));
        assert_eq!(metrics.render().matches("bowline_messages_lag{").count(), MEASURED_MAX);
    }
}
