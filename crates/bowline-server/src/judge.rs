//! Holds a release against its condition, by what was measured of it.

use std::sync::Arc;

use bowline_deploy::{Judge, Question, Verdict};
use bowline_model::{
    Health,
    deploy::{Figures, condition::Comparison},
    error::chain,
    units,
};
use bowline_observe::{
    releases::{self, Asked},
    series::SeriesStore,
    source::Source,
};
use bowline_registry::{Query, Registry};
use bowline_runtime::{BoxFuture, task, time};
use tokio::sync::Semaphore;

/// How many releases are measured at once; others wait.
const JUDGED_MAX: usize = 2;

/// How many requests have to fail before a release is given up with less than it needs.
const HOPELESS_MIN: f64 = 5.0;

/// A judge over the samples of this node.
pub(crate) struct Measures {
    series: SeriesStore,
    registry: Arc<dyn Registry>,
    places: Arc<Semaphore>,
}

impl Measures {
    pub(crate) fn new(series: SeriesStore, registry: Arc<dyn Registry>) -> Self {
        Self { series, registry, places: Arc::new(Semaphore::new(JUDGED_MAX)) }
    }

    /// Whether somebody of the release takes requests now.
    async fn is_there(&self, question: &Question) -> Result<bool, String> {
        let (service, health) = (Some(question.service.clone()), Some(Health::Healthy));
        let query = Query { service, health, ..Query::default() };
        let found = self.registry.discover(&query).await.map_err(|error| chain(&error))?;
        Ok(found.instances.iter().any(|instance| instance.version == question.version))
    }

    async fn figures(&self, question: &Question) -> Result<Figures, String> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|error| error.to_string())?;
        let (series, question) = (self.series.clone(), question.clone());
        let now_ms = i64::try_from(time::unix_millis_now()).unwrap_or(i64::MAX);
        let measuring = task::spawn_blocking(move || {
            // Held by the thread: who does not wait any more does not end it.
            let _place = place;
            measured(&series, &question, now_ms)
        });
        measuring.await.unwrap_or_else(|_| Err("measuring it failed".to_owned()))
    }
}

impl Judge for Measures {
    fn judge<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let measured = verdict_of(question, self.figures(question).await);
            if !matches!(measured, Verdict::Good(_) | Verdict::Few(_)) {
                return measured;
            }
            alive(question, measured, self.is_there(question).await)
        })
    }
}

/// What was measured of a release within the window; where that is too little, within one twice as long, until it is
/// enough or the step's beginning is reached: what is fresh counts most. Blocks.
fn measured(source: &dyn Source, question: &Question, now_ms: i64) -> Result<Figures, String> {
    let Question { service, version, window, since, min_requests, condition } = question;
    let quantiles = condition.quantiles();
    let asked = |window| Asked { service, version, window, quantiles: &quantiles };
    let figures = |window| releases::figures(source, asked(window), now_ms).map_err(|error| chain(&error));
    let mut within = (*window).min(*since);
    loop {
        let measured = figures(within)?;
        if within >= *since || within >= releases::WINDOW_MAX || measured.requests >= f64::from(*min_requests) {
            return Ok(measured);
        }
        within = within.saturating_mul(2).min(*since);
    }
}

/// What the figures say, where there are some.
fn verdict_of(question: &Question, figures: Result<Figures, String>) -> Verdict {
    match figures {
        Ok(figures) => verdict(question, figures),
        Err(error) => Verdict::Unknown(format!("its metrics cannot be read: {error}")),
    }
}

/// What is measured of a release, as long as it lives: what it did well before it died is no praise, and no traffic
/// reaches it.
fn alive(question: &Question, measured: Verdict, is_there: Result<bool, String>) -> Verdict {
    let Question { service, version, .. } = question;
    match is_there {
        Ok(true) => measured,
        Ok(false) => Verdict::Unknown(format!("no instance of {version} of {service} is healthy")),
        Err(error) => Verdict::Unknown(format!("the registry cannot be read: {error}")),
    }
}

/// What the figures say.
fn verdict(question: &Question, figures: Figures) -> Verdict {
    let Question { service, version, window: _, since: _, min_requests, condition } = question;
    if figures.requests < f64::from(*min_requests) && !is_beyond_hope(question, &figures) {
        return Verdict::Few(figures);
    }
    if let Some(by) = condition.holds(&figures) {
        let told: Vec<_> = by.iter().map(|comparison| told(comparison, &figures)).collect();
        let by = format!("{} ({:.0} requests)", told.join(" and "), figures.requests);
        return Verdict::Bad(figures, by);
    }
    let is_known = |quantile| figures.quantiles.iter().any(|(known, _)| *known == quantile);
    if !condition.quantiles().into_iter().all(is_known) {
        return Verdict::Unknown(format!("how long requests to {version} of {service} take is not measured yet"));
    }
    Verdict::Good(figures)
}

/// Whether a release fails so much that no more requests may come, as breakers keep them away: half of them at least,
/// and more than it may even if all went well until there are enough.
fn is_beyond_hope(question: &Question, figures: &Figures) -> bool {
    let (enough, failed) = (f64::from(question.min_requests), figures.error_ratio * figures.requests);
    let at_best = Figures { requests: enough, error_ratio: failed / enough, quantiles: Vec::new() };
    failed >= HOPELESS_MIN && figures.error_ratio >= 0.5 && question.condition.holds(&at_best).is_some()
}

/// What was measured, and the bound that it is above: `error_rate 20.5% > 1%`.
fn told(comparison: &Comparison, figures: &Figures) -> String {
    let measured = match comparison {
        Comparison::ErrorRateAbove(_) => format!("{:.1}%", figures.error_ratio * 100.0),
        Comparison::QuantileAbove(quantile, _) => {
            let known = figures.quantiles.iter().find(|(known, _)| known == quantile);
            known.map_or_else(String::new, |(_, took)| units::rounded(*took))
        }
    };
    let text = comparison.to_string();
    text.split_once(' ').map_or_else(|| text.clone(), |(name, bound)| format!("{name} {measured} {bound}"))
}

#[cfg(test)]
mod tests {
    use bowline_model::{
        ServiceName,
        deploy::{Condition, condition::Quantile},
    };
    use bowline_observe::{
        labels::{Labels, Matcher},
        source::{Sample, Series, SourceError},
    };

    use super::*;

    fn question(condition: &str) -> Question {
        Question {
            service: ServiceName::new("order").unwrap(),
            version: "v2".to_owned(),
            window: time::Duration::from_secs(30),
            since: time::Duration::from_mins(10),
            min_requests: 20,
            condition: Condition::parse(condition).unwrap(),
        }
    }

    #[track_caller]
    fn check(condition: &str, figures: &Figures, expect: &Verdict) {
        assert_eq!(verdict(&question(condition), figures.clone()), *expect, "{condition}");
    }

    #[test]
    fn what_a_release_did_before_it_died_is_no_praise() {
        let question = question("error_rate > 1%");
        let good = Verdict::Good(Figures { requests: 20.0, ..Figures::default() });
        assert_eq!(alive(&question, good.clone(), Ok(true)), good);
        let dead = Verdict::Unknown("no instance of v2 of order is healthy".to_owned());
        assert_eq!(alive(&question, good.clone(), Ok(false)), dead);
        let unread = Verdict::Unknown("the registry cannot be read: it is closed".to_owned());
        assert_eq!(alive(&question, good, Err("it is closed".to_owned())), unread);
    }

    #[test]
    fn a_verdict_says_what_was_measured_and_its_bound() {
        let took = time::Duration::from_micros(812_345);
        let figures = Figures { requests: 40.0, error_ratio: 0.2049, quantiles: vec![(Quantile::P99, took)] };
        let bad = |text: &str| Verdict::Bad(figures.clone(), text.to_owned());
        check("error_rate > 1%", &figures, &bad("error_rate 20.5% > 1% (40 requests)"));
        let both = "error_rate > 1% and p99 > 400ms";
        check(both, &figures, &bad("error_rate 20.5% > 1% and p99 812ms > 400ms (40 requests)"));
        check("error_rate > 30%", &figures, &Verdict::Good(figures.clone()));
    }

    #[test]
    fn what_was_not_measured_is_no_praise() {
        let untimed = Figures { requests: 20.0, ..Figures::default() };
        let unknown = Verdict::Unknown("how long requests to v2 of order take is not measured yet".to_owned());
        check("p99 > 1s", &untimed, &unknown);
        check("error_rate > 1% or p99 > 1s", &untimed, &unknown);
        let failing = Figures { error_ratio: 1.0, ..untimed };
        let bad = Verdict::Bad(failing.clone(), "error_rate 100.0% > 1% (20 requests)".to_owned());
        check("error_rate > 1% or p99 > 1s", &failing, &bad);
    }

    #[test]
    fn of_few_requests_nothing_is_said() {
        let few = |requests, error_ratio| Figures { requests, error_ratio, ..Figures::default() };
        for figures in [few(0.0, 0.0), few(6.0, 1.0 / 6.0), few(4.0, 1.0), few(19.0, 0.4)] {
            check("error_rate > 1%", &figures, &Verdict::Few(figures.clone()));
        }
        check("error_rate > 30%", &few(6.0, 1.0), &Verdict::Few(few(6.0, 1.0)));
        // Breakers may keep the missing ones away.
        let hopeless = Verdict::Bad(few(12.0, 1.0), "error_rate 100.0% > 30% (12 requests)".to_owned());
        check("error_rate > 30%", &few(12.0, 1.0), &hopeless);
        let bad = Verdict::Bad(few(20.0, 0.05), "error_rate 5.0% > 1% (20 requests)".to_owned());
        check("error_rate > 1%", &few(20.0, 0.05), &bad);
    }

    /// A counter of v2 that grew by one every minute since the step began, ten minutes ago.
    struct Slow;

    impl Source for Slow {
        fn select(&self, matchers: &[Matcher], from_ms: i64, to_ms: i64, _: usize) -> Result<Vec<Series>, SourceError> {
            let pairs = [("__name__", "bowline_requests_total"), ("service", "order"), ("reporter", "server")];
            let labels = Labels::new(pairs.into_iter().chain([("version", "v2"), ("code", "200")]));
            if !matchers.iter().all(|matcher| matcher.is_matching(&labels)) {
                return Ok(Vec::new());
            }
            let samples = (1..=10_u32).map(|minute| Sample { at_ms: i64::from(minute) * 60_000, value: minute.into() });
            let samples = samples.filter(|sample| (from_ms..=to_ms).contains(&sample.at_ms)).collect();
            Ok(vec![Series { labels, samples }])
        }
    }

    #[test]
    fn few_requests_are_counted_since_the_step_began() {
        let question = |min_requests| Question { min_requests, ..question("error_rate > 1%") };
        let told = |min_requests| measured(&Slow, &question(min_requests), 600_000).unwrap().to_string();
        // The window doubles: 30 s, a minute, two, four, eight, all.
        let (one, two, all) = ("1 request, 0.0% failed", "2 requests, 0.0% failed", "10 requests, 0.0% failed");
        assert_eq!([1, 2, 20].map(told), [one, two, all]);
    }
}
