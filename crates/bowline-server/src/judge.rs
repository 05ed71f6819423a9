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
};
use bowline_registry::{Query, Registry};
use bowline_runtime::{BoxFuture, task, time};
use tokio::sync::Semaphore;

/// How many releases are measured at once; others wait.
const JUDGED_MAX: usize = 2;

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
            let Question { service, version, window, condition } = &question;
            let quantiles = condition.quantiles();
            let asked = Asked { service, version, window: *window, quantiles: &quantiles };
            releases::figures(&series, asked, now_ms).map_err(|error| chain(&error))
        });
        measuring.await.unwrap_or_else(|_| Err("measuring it failed".to_owned()))
    }
}

impl Judge for Measures {
    fn judge<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let measured = verdict_of(question, self.figures(question).await);
            if !matches!(measured, Verdict::Good(_)) {
                return measured;
            }
            alive(question, measured, self.is_there(question).await)
        })
    }
}
/// What the figures say, where there are some.
fn verdict_of(question: &Question, figures: Result<Figures, String>) -> Verdict {
    match figures {
        Ok(figures) => verdict(question, figures),
        Err(error) => Verdict::Unknown(format!("its metrics cannot be read: {error}")),
    }
}

/// What is measured of a release, as long as it lives: what it did well before it died is no praise.
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
    let Question { service, version, window, condition } = question;
    if figures.requests <= 0.0 {
        let window = units::format_duration(*window);
        return Verdict::Unknown(format!("no request of the last {window} to {version} of {service} was measured"));
    }
    if let Some(by) = condition.holds(&figures) {
        let told: Vec<_> = by.iter().map(|comparison| told(comparison, &figures)).collect();
        return Verdict::Bad(figures, told.join(" and "));
    }
    let is_known = |quantile| figures.quantiles.iter().any(|(known, _)| *known == quantile);
    if !condition.quantiles().into_iter().all(is_known) {
        return Verdict::Unknown(format!("how long requests to {version} of {service} take is not measured"));
    }
    Verdict::Good(figures)
}

/// What was measured, and the bound that it is above: `error_rate 20.5% > 1%`.
fn told(comparison: &Comparison, figures: &Figures) -> String {
    let measured = match comparison {
        Comparison::ErrorRateAbove(_) => format!("{:.1}%", figures.error_ratio * 100.0),
        Comparison::QuantileAbove(quantile, _) => {
            let known = figures.quantiles.iter().find(|(known, _)| known == quantile);
            known.map_or_else(String::new, |(_, took)| units::format_duration(to_millis(*took)))
        }
    };
    let text = comparison.to_string();
    text.split_once(' ').map_or_else(|| text.clone(), |(name, bound)| format!("{name} {measured} {bound}"))
}

/// To the millisecond, as far as people read it.
fn to_millis(duration: time::Duration) -> time::Duration {
    time::Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use bowline_model::{
        ServiceName,
        deploy::{Condition, condition::Quantile},
    };

    use super::*;

    fn question(condition: &str) -> Question {
        Question {
            service: ServiceName::new("order").unwrap(),
            version: "v2".to_owned(),
            window: time::Duration::from_secs(30),
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
        let good = Verdict::Good(Figures { requests: 10.0, ..Figures::default() });
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
        check("error_rate > 1%", &figures, &bad("error_rate 20.5% > 1%"));
        let both = "error_rate > 1% and p99 > 400ms";
        check(both, &figures, &bad("error_rate 20.5% > 1% and p99 812ms > 400ms"));
        check("error_rate > 30%", &figures, &Verdict::Good(figures.clone()));
    }

    #[test]
    fn what_was_not_measured_is_no_praise() {
        let idle = "no request of the last 30s to v2 of order was measured".to_owned();
        check("error_rate > 1%", &Figures::default(), &Verdict::Unknown(idle));
        let untimed = Figures { requests: 1.0, ..Figures::default() };
        let unknown = Verdict::Unknown("how long requests to v2 of order take is not measured".to_owned());
        check("p99 > 1s", &untimed, &unknown);
        check("error_rate > 1% or p99 > 1s", &untimed, &unknown);
        let failing = Figures { error_ratio: 1.0, ..untimed };
        let bad = Verdict::Bad(failing.clone(), "error_rate 100.0% > 1%".to_owned());
        check("error_rate > 1% or p99 > 1s", &failing, &bad);
    }
}
