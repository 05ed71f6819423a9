//! When a process is checked, and who is told of the answers.

use bowline_model::{Address, InstanceId, Protocol, ServiceName, system::Check};
use bowline_registry::health::{Effect, Event, Failure, HealthChecker, Probe, ProbeWatcher, State, Target, Thresholds};
use bowline_runtime::time::{self, Duration, Instant};

/// Time between checks of a process that never answered well: who waits for it waits no longer.
const FIRST_EVERY: Duration = Duration::from_millis(50);

/// The checks of one process.
pub(super) struct Checks<'a> {
    of: Of<'a>,
    target: Target,
    every: Duration,
    thresholds: Thresholds,
    state: State,
    next_at: Instant,
}

/// Of what the checks are, by whom, and for whom.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) instance: &'a InstanceId,
    pub(super) service: &'a ServiceName,
    pub(super) checker: &'a dyn HealthChecker,
    pub(super) watcher: &'a dyn ProbeWatcher,
}

/// A change of an instance's health, or news of one that was never healthy.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was not, and is now; what it says that it speaks.
    Healthy(Protocol),
    /// It never was, and is not yet.
    NotYet(Failure),
    /// It was, and is no longer.
    Unhealthy(Failure),
}

impl<'a> Checks<'a> {
    pub(super) fn new(of: Of<'a>, address: Address, check: &Check) -> Self {
        let Check { http, every, timeout, healthy_after, unhealthy_after } = check.clone();
        Self {
            of,
            target: Target { address, path: http, timeout },
            every,
            thresholds: Thresholds { healthy_after, unhealthy_after },
            state: State::START,
            next_at: time::now(),
        }
    }

    /// Checks until there is something to say.
    ///
    /// # Cancel safety
    /// A check under way is lost; the next call makes it anew.
    pub(super) async fn next(&mut self) -> Verdict {
        loop {
            time::sleep_until(self.next_at).await;
            let (began, at_unix_ms) = (time::now(), time::unix_millis_now());
            let (protocol, failure) = match self.of.checker.check(&self.target).await {
                Ok(well) => (well.protocol, None),
                Err(failure) => (Protocol::default(), Some(failure)),
            };
            self.tell(at_unix_ms, time::now() - began, failure.clone());
            let event = if failure.is_none() { Event::Succeeded } else { Event::Failed };
            let (state, effect) = self.state.step(event, self.thresholds);
            self.state = state;
            self.next_at = began + if state == State::START { self.every.min(FIRST_EVERY) } else { self.every };
            match (effect, failure) {
                (Effect::BecameHealthy, _) => return Verdict::Healthy(protocol),
                (Effect::NotYet, Some(failure)) => return Verdict::NotYet(failure),
                (Effect::BecameUnhealthy, Some(failure)) => return Verdict::Unhealthy(failure),
                (Effect::None | Effect::NotYet | Effect::BecameUnhealthy, _) => {}
            }
        }
    }

    fn tell(&self, at_unix_ms: u64, took: Duration, failure: Option<Failure>) {
        let (instance, service) = (self.of.instance.clone(), self.of.service.clone());
        self.of.watcher.probed(Probe { instance, service, at_unix_ms, took, failure });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bowline_registry::health::Well;
    use bowline_runtime::BoxFuture;

    use super::*;

    /// Answers by a script, each after 10 ms; then never.
    struct Script(Mutex<std::vec::IntoIter<bool>>);

    impl HealthChecker for Script {
        fn check(&self, _: &Target) -> BoxFuture<'_, Result<Well, Failure>> {
            let answer = self.0.lock().unwrap().next();
            Box::pin(async move {
                time::sleep(Duration::from_millis(10)).await; // tidy: sleep: virtual time, a check that takes a while
                match answer {
                    Some(true) => Ok(Well { protocol: Protocol::Both }),
                    Some(false) => Err(Failure::new("why")),
                    None => std::future::pending().await,
                }
            })
        }
    }

    /// Remembers what it was told.
    #[derive(Default)]
    struct Told(Mutex<Vec<Probe>>);

    impl ProbeWatcher for Told {
        fn probed(&self, probe: Probe) {
            self.0.lock().unwrap().push(probe);
        }

        fn leaves(&self, _: &InstanceId, _: &'static str) {}
    }

    /// Runs a script of checks every second; what was said, at which millisecond, and every probe.
    async fn run(script: &str, healthy_after: u32, unhealthy_after: u32) -> (Vec<(u128, Verdict)>, Vec<Probe>) {
        let answers: Vec<bool> = script.chars().map(|answer| answer == '.').collect();
        let (checker, watcher) = (Script(Mutex::new(answers.into_iter())), Told::default());
        let (instance, service) = (InstanceId::new("a-1").unwrap(), ServiceName::new("a").unwrap());
        let of = Of { instance: &instance, service: &service, checker: &checker, watcher: &watcher };
        let check = Check { every: Duration::from_secs(1), healthy_after, unhealthy_after, ..Check::default() };
        let mut checks = Checks::new(of, "127.0.0.1:1".parse().unwrap(), &check);
        let (began, mut said) = (time::now(), Vec::new());
        while let Ok(verdict) = time::timeout(Duration::from_mins(1), checks.next()).await {
            said.push(((time::now() - began).as_millis(), verdict));
        }
        (said, watcher.0.into_inner().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn checks_are_close_until_one_succeeds_and_then_as_told() {
        let (said, probes) = run("xx..x.xx.", 1, 2).await;
        let why = || Failure::new("why");
        let expect = [
            (10, Verdict::NotYet(why())),
            (60, Verdict::NotYet(why())),
            (110, Verdict::Healthy(Protocol::Both)),
            (5110, Verdict::Unhealthy(why())),
            (6110, Verdict::Healthy(Protocol::Both)),
        ];
        assert_eq!(said, expect);
        assert_eq!(probes.len(), 9, "each is told");
        assert!(probes.iter().all(|probe| probe.took == Duration::from_millis(10)));
        assert_eq!(probes[0].failure, Some(why()));
        assert_eq!(probes[2].failure, None);
    }

    #[tokio::test(start_paused = true)]
    async fn thresholds_are_the_check_s() {
        let (said, _) = run("...xxx", 3, 3).await;
        assert_eq!(said, [(2010, Verdict::Healthy(Protocol::Both)), (5010, Verdict::Unhealthy(Failure::new("why")))]);
    }
}
