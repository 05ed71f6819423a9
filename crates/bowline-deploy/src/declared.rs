//! What the file says of a service, as far as rollouts ask, and which releases may take its place.

use bowline_model::{
    ServiceName,
    deploy::{Broken, Plan, Release, STEPS_DEFAULT, Strategy},
    system::{REPLICAS_MAX, Service, System},
};
use xxhash_rust::xxh3::xxh3_128;

use crate::{error::Error, rollout::Begin};

/// A service as its file declares it.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    pub(crate) service: ServiceName,
    version: String,
    has_run: bool,
    /// How many instances.
    pub(crate) count: u32,
    plan: Plan,
    /// The versions that run beside it.
    beside: Vec<String>,
    /// Changes with what the service's own release is.
    pub(crate) fingerprint: String,
}

/// A release that takes the place of another, and how.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) release: Release,
    pub(crate) plan: Plan,
    pub(crate) count: Option<u32>,
}

impl Declared {
    pub(crate) fn new(service: &Service, system: &System) -> Self {
        Self {
            service: service.name.clone(),
            version: service.version.clone(),
            has_run: service.run.is_some(),
            count: service.replicas,
            plan: system.plan(&service.name),
            beside: service.versions.iter().map(|version| version.name.clone()).collect(),
            fingerprint: fingerprint(service),
        }
    }

    /// The release that it declares.
    pub(crate) fn release(&self) -> Release {
        Release::declared(self.version.as_str())
    }

    /// Whether a release is the one that it declares.
    pub(crate) fn is_own(&self, release: &Release) -> bool {
        release.is_bare() && release.version == self.version
    }

    /// Checks that a release can take the place of the one that runs.
    pub(crate) fn check(&self, begin: Begin, running: &Release) -> Result<Wanted, Error> {
        let Begin { service: _, release, plan, replicas } = begin;
        self.check_fit()?;
        release.check().map_err(invalid)?;
        let version = release.version.as_str();
        let refuse = |what, rule: String| Err(Error::Invalid { what, rule });
        if version == running.version {
            return refuse("version", format!("`{version}` is the version that runs: give the new one another name"));
        }
        if self.beside.iter().any(|beside| beside == version) {
            return refuse("version", format!("`{version}` is declared to run beside: give the new one another name"));
        }
        if version == self.version && !release.is_bare() {
            let rule = format!("`{version}` is what the file declares: say nothing else of it, or give another name");
            return refuse("version", rule);
        }
        if replicas.is_some_and(|count| !(1..=REPLICAS_MAX).contains(&count)) {
            return refuse("replicas", format!("they are 1 to {REPLICAS_MAX}"));
        }
        let mut plan = plan.unwrap_or_else(|| self.plan.clone());
        if plan.strategy == Strategy::Canary && plan.steps.is_empty() {
            plan.steps = STEPS_DEFAULT.to_vec();
        }
        plan.check().map_err(invalid)?;
        Ok(Wanted { release, plan, count: replicas })
    }

    fn check_fit(&self) -> Result<(), Error> {
        let unfit = |rule: &str| Err(Error::Unfit { service: self.service.clone(), rule: rule.to_owned() });
        match self {
            _ if !self.has_run => unfit("it has no `run` in bowline.toml, so its instances run elsewhere"),
            _ if self.version.is_empty() => unfit("write `version = \"v1\"` in its section of bowline.toml"),
            _ => Ok(()),
        }
    }
}

fn invalid(broken: Broken) -> Error {
    Error::Invalid { what: broken.what, rule: broken.rule.into_owned() }
}

/// Equal for equal releases; another one for any that differ, but for one in 2¹²⁸.
fn fingerprint(service: &Service) -> String {
    let Service { build, run, env, version, .. } = service;
    let text = serde_json::to_vec(&(build, run, env, version)).expect("they are plain data with text keys");
    format!("{:032x}", xxh3_128(&text))
}
