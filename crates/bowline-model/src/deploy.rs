//! `Deployment(S)`: how a release of a service takes the place of the one before.

pub mod condition;

use std::{borrow::Cow, collections::BTreeMap, fmt, ops::RangeInclusive, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::condition::{Condition, Figures};
use crate::{
    mesh::{VERSION_RULE, is_version},
    name::ServiceName,
    parse,
    problem::Position,
    units::Share,
};

/// The longest a step may bake.
pub const BAKE_MAX: Duration = Duration::from_hours(24);

/// How many requests a step may ask for before anything is said of a release.
pub const REQUESTS_RANGE: RangeInclusive<u32> = 1..=1_000_000;

/// How many requests a step asks for where nothing is said.
pub const REQUESTS_DEFAULT: u32 = 20;

/// The most steps of a canary.
pub const STEPS_MAX: usize = 20;

/// The steps of a canary that names none.
pub const STEPS_DEFAULT: [Share; 3] = [Share::from_percent(5), Share::from_percent(25), Share::from_percent(50)];

/// How much of a variable's name is shown, in characters.
const SHOWN_MAX: usize = 100;

/// The largest release, in bytes of all its text.
pub const RELEASE_BYTES_MAX: usize = 64 * 1024;

/// How releases of one service are rolled out: `[deploy.X]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Whose releases.
    pub service: ServiceName,
    /// Where it is declared.
    pub position: Position,
    /// How it is done.
    pub plan: Plan,
}

/// How one release takes the place of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// In which way.
    pub strategy: Strategy,
    /// The shares of requests that the new release gets, one after the other, before it gets all: each above the
    /// one before, above 0 % and below 100 %, in tenths of a percent; at most [`STEPS_MAX`]. Of a canary alone.
    pub steps: Vec<Share>,
    /// How long each step is watched before the next: above zero, at most [`BAKE_MAX`].
    #[serde(with = "crate::units::duration")]
    pub bake: Duration,
    /// What ends it, and brings the release before back; absent: nothing that is measured does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abort_when: Option<Condition>,
    /// How many requests the new release has had before it is judged, in [`REQUESTS_RANGE`]: of fewer a single failure
    /// is chance.
    #[serde(default = "requests_default")]
    pub min_requests: u32,
}

/// What those that were kept before there was such a number have.
fn requests_default() -> u32 {
    REQUESTS_DEFAULT
}

impl Default for Plan {
    /// Rolling, watched for a minute at each step, aborted above 5 % of errors of at least 20 requests.
    fn default() -> Self {
        let abort_when = Condition::parse("error_rate > 5%").ok();
        let (strategy, bake) = (Strategy::default(), Duration::from_mins(1));
        Self { strategy, steps: Vec::new(), bake, abort_when, min_requests: REQUESTS_DEFAULT }
    }
}

impl Plan {
    /// Checks the bounds that its types cannot carry.
    ///
    /// # Errors
    /// The part at fault, and the rule it breaks.
    pub fn check(&self) -> Result<(), Broken> {
        let Self { strategy, steps, bake, abort_when: _, min_requests } = self;
        if bake.is_zero() || *bake > BAKE_MAX {
            return Err(Broken::new("bake", "it is above zero, and not above 24h"));
        }
        if !REQUESTS_RANGE.contains(min_requests) {
            return Err(Broken::new("min_requests", "it is 1 to 1000000"));
        }
        if *strategy == Strategy::Canary && steps.is_empty() {
            return Err(Broken::new("steps", "a canary has at least one"));
        }
        if *strategy != Strategy::Canary && !steps.is_empty() {
            return Err(Broken::new("steps", STEPS_RULE));
        }
        if steps.len() > STEPS_MAX {
            return Err(Broken::new("steps", "there are at most 20"));
        }
        let before = std::iter::once(None).chain(steps.iter().copied().map(Some));
        let checked = steps.iter().zip(before).try_for_each(|(step, before)| check_step(*step, before));
        checked.map_err(|rule| Broken::new("steps", rule))
    }
}

/// Which strategies have steps.
pub const STEPS_RULE: &str = "only a canary has steps: the others give instance by instance, or everything at once";

/// Checks a step of a canary against the one before.
///
/// # Errors
/// The rule that it breaks.
pub fn check_step(step: Share, before: Option<Share>) -> Result<(), &'static str> {
    if step == Share::ZERO || step == Share::ALL {
        return Err("a step is above 0% and below 100%, which comes after the last");
    }
    // Weights are of 1000.
    if !step.millionths().is_multiple_of(Share::ALL.millionths() / 1000) {
        return Err("a step is in tenths of a percent");
    }
    if before.is_some_and(|before| step <= before) {
        return Err("each step is above the one before");
    }
    Ok(())
}

/// A rule that a [`Plan`] or a [`Release`] breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {rule}")]
pub struct Broken {
    /// The part at fault.
    pub what: &'static str,
    /// The rule it breaks, with the name of what does where there are several.
    pub rule: Cow<'static, str>,
}

impl Broken {
    fn new(what: &'static str, rule: impl Into<Cow<'static, str>>) -> Self {
        Self { what, rule: rule.into() }
    }
}

/// In which way a release takes the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Instance by instance: a new one starts, bakes, and one of the old ones stops.
    #[default]
    Rolling,
    /// All new instances start and get no requests, then all requests at once; the old ones stop after the bake.
    BlueGreen,
    /// All new instances start and get a share of requests that grows by steps.
    Canary,
}

impl Strategy {
    /// The ways there are, by their names in `bowline.toml`.
    pub const NAMES: [(&'static str, Self); 3] =
        [("rolling", Self::Rolling), ("blue-green", Self::BlueGreen), ("canary", Self::Canary)];
}

/// A release of a service: what runs as one version of it. What it does not say is as the service says.
///
/// Its `Debug` leaves out the values of variables, which may be nobody's business.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Its name; valid by [`is_version`].
    pub version: String,
    /// A shell command that makes it ready to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// A shell command that runs one instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Added to, and over, the service's environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

impl fmt::Debug for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, build, run, env } = self;
        let mut shown = f.debug_struct("Release");
        shown.field("version", version).field("build", build).field("run", run);
        shown.field("env", &env.keys()).finish()
    }
}

impl Release {
    /// The release that a service declares itself: it says nothing but its version.
    pub fn declared(version: impl Into<String>) -> Self {
        Self { version: version.into(), build: None, run: None, env: BTreeMap::new() }
    }

    /// Whether it says nothing but its version.
    pub fn is_bare(&self) -> bool {
        self.build.is_none() && self.run.is_none() && self.env.is_empty()
    }

    /// Checks it by the rules that `bowline.toml` has for a service's commands and variables.
    ///
    /// # Errors
    /// The part at fault, and the rule it breaks.
    pub fn check(&self) -> Result<(), Broken> {
        let Self { version, build, run, env } = self;
        if !is_version(version) {
            return Err(Broken::new("version", VERSION_RULE));
        }
        for (what, command) in [("build", build), ("run", run)] {
            let checked = command.as_deref().map_or(Ok(()), parse::check_command);
            checked.map_err(|rule| Broken::new(what, rule))?;
        }
        for (name, value) in env {
            let shown: String = name.chars().take(SHOWN_MAX).collect();
            let broken = |rule: &str| Broken::new("env", format!("`{}`: {rule}", shown.escape_debug()));
            parse::check_variable(name).map_err(broken)?;
            if value.contains('\0') {
                return Err(broken("no variable can hold a NUL"));
            }
        }
        let texts = [version].into_iter().chain(build).chain(run).chain(env.keys()).chain(env.values());
        if texts.map(String::len).sum::<usize>() > RELEASE_BYTES_MAX {
            return Err(Broken::new("release", "it has at most 64 KiB of text"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_plan(strategy: Strategy, steps: &[&str], expect: Option<&str>) {
        let steps = steps.iter().map(|step| Share::parse(step).unwrap()).collect();
        let plan = Plan { strategy, steps, ..Plan::default() };
        assert_eq!(plan.check().err().map(|broken| broken.to_string()).as_deref(), expect);
    }

    #[test]
    fn a_plan_is_within_its_bounds() {
        check_plan(Strategy::Rolling, &[], None);
        check_plan(Strategy::Canary, &["0.1%", "5%", "99.9%"], None);
        check_plan(Strategy::Canary, &[], Some("steps: a canary has at least one"));
        check_plan(Strategy::Canary, &["5%", "5%"], Some("steps: each step is above the one before"));
        check_plan(Strategy::Canary, &["0.05%"], Some("steps: a step is in tenths of a percent"));
        let bounds = "steps: a step is above 0% and below 100%, which comes after the last";
        check_plan(Strategy::Canary, &["0%"], Some(bounds));
        check_plan(Strategy::Canary, &["100%"], Some(bounds));
        check_plan(Strategy::BlueGreen, &["5%"], Some(&format!("steps: {STEPS_RULE}")));
        let many: Vec<String> = (1..=21).map(|percent| format!("{percent}%")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        check_plan(Strategy::Canary, &many, Some("steps: there are at most 20"));
        for bake in [Duration::ZERO, BAKE_MAX + Duration::from_nanos(1)] {
            assert_eq!(Plan { bake, ..Plan::default() }.check().unwrap_err().what, "bake");
        }
        for min_requests in [0, 1_000_001] {
            let broken = Plan { min_requests, ..Plan::default() }.check().unwrap_err();
            assert_eq!(broken.to_string(), "min_requests: it is 1 to 1000000");
        }
    }

    #[test]
    fn a_plan_that_was_kept_before_there_was_a_number_has_the_default() {
        let kept = r#"{"strategy": "rolling", "steps": [], "bake": "1m"}"#;
        let plan: Plan = serde_json::from_str(kept).unwrap();
        assert_eq!(plan, Plan { abort_when: None, ..Plan::default() });
    }

    #[test]
    fn a_release_is_as_a_file_could_declare_it() {
        let good = Release { run: Some("./order".to_owned()), ..Release::declared("v2") };
        assert_eq!(good.check(), Ok(()));
        let secret = Release { env: [("TOKEN".to_owned(), "hush".to_owned())].into(), ..good.clone() };
        let shown = format!("{secret:?}");
        assert!(shown.contains("TOKEN") && !shown.contains("hush"), "{shown}");
        let env = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
        for (bad, what) in [
            (Release::declared("v 2"), "version"),
            (Release { run: Some(" ".to_owned()), ..good.clone() }, "run"),
            (Release { build: Some("a\0b".to_owned()), ..good.clone() }, "build"),
            (Release { env: env("1A", ""), ..good.clone() }, "env"),
            (Release { env: env("BOWLINE_LISTEN", ""), ..good.clone() }, "env"),
            (Release { env: env("BOWLINE_DATA_X", ""), ..good.clone() }, "env"),
            (Release { env: env("A", "\0"), ..good.clone() }, "env"),
            (Release { env: env("A", &"x".repeat(RELEASE_BYTES_MAX)), ..good.clone() }, "release"),
        ] {
            assert_eq!(bad.check().unwrap_err().what, what);
        }
        let told = |name, value| Release { env: env(name, value), ..good.clone() }.check().unwrap_err().to_string();
        assert_eq!(told("BOWLINE_LISTEN", ""), "env: `BOWLINE_LISTEN`: Bowline sets it itself");
        assert_eq!(told("1A", ""), "env: `1A`: use letters, digits and _, no digit first");
        assert_eq!(told("A", "\0"), "env: `A`: no variable can hold a NUL");
    }
}
