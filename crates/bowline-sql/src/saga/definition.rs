//! What a saga is made of: steps with what they do, how that is undone, and how long it is tried.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use bowline_messaging::{
    check_name,
    delivery::Policy,
    saga::{Plan, StepPlan},
};
use bowline_runtime::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error,
    db::{Db, Tx},
    ms,
};

/// The most steps of a saga.
pub const STEPS_MAX: usize = 64;

/// The longest that a step, or a saga, is tried.
const WITHIN_MAX: Duration = Duration::from_hours(24 * 365);

/// How often undoing is tried before a saga is stuck, if nothing else is said.
const STUCK_AFTER: u32 = 10;

/// Why a step was not done.
#[derive(Debug)]
pub enum StepError {
    /// It may go better later; whether it acted is not known, where the step is remote. What `?` makes of any error.
    Retry(Box<dyn StdError + Send + Sync>),
    /// It has not acted and will not: everything before it is undone. The reason is kept, and shown. To undo knows no
    /// "no": there it is as [`StepError::Retry`].
    Abort(String),
}

impl StepError {
    /// Says no.
    pub fn abort(reason: impl Into<String>) -> Self {
        Self::Abort(reason.into())
    }

    /// It may go better later.
    pub fn retry(failure: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Retry(failure.into())
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for StepError {
    fn from(error: E) -> Self {
        Self::Retry(Box::new(error))
    }
}

/// Checks the name of a saga or of a step, in this crate's words.
fn check_word(what: &'static str, name: &str) -> Result<(), Error> {
    check_name(what, name).map_err(|error| match error {
        bowline_messaging::Error::Invalid { what, rule } => Error::Invalid { what, rule },
        error => Error::Message(error),
    })
}

/// What a step answers.
type Stepped<T> = Result<T, StepError>;

/// A step in the transaction that keeps it, over data as JSON.
type LocalRun<DB> = dyn for<'a> Fn(&'a mut Tx<DB>, &'a str) -> BoxFuture<'a, Stepped<String>> + Send + Sync;

/// A step elsewhere, over the saga's id and data as JSON.
type RemoteRun = dyn for<'a> Fn(&'a str, &'a str) -> BoxFuture<'a, Stepped<String>> + Send + Sync;

/// How a step is done or undone.
pub(crate) enum Run<DB: Db> {
    Local(Arc<LocalRun<DB>>),
    Remote(Arc<RemoteRun>),
}

pub(crate) struct Step<DB: Db> {
    pub(crate) name: String,
    pub(crate) act: Run<DB>,
    /// What never has to be undone has none.
    pub(crate) undo: Option<Run<DB>>,
    /// The longest of one try.
    pub(crate) timeout: Duration,
    within: Duration,
    retry: Policy,
}

/// A definition whatever its data are.
pub(crate) struct Erased<DB: Db> {
    pub(crate) steps: Vec<Step<DB>>,
    pub(crate) plan: Plan,
    pub(crate) within: Option<Duration>,
}

/// A saga over data of a type: its steps, in their order. What is said after a step is said of that step.
///
/// A *local* step works in the transaction that keeps that it is done: so it happens once by effect. Local steps that
/// follow each other share one transaction; do nothing else in them, as it would be held up. A *remote* step works
/// elsewhere, at least once: whom it asks has to recognise the saga's id. To undo a remote step has to hold also when
/// it overtakes what it undoes, a request that is still on its way: whom it asks refuses that one then, by the saga's id.
///
/// The data that a step changes are kept when it succeeds, and are as before when it does not. Releases may change a
/// definition while sagas are under way: steps are known by their names, and a saga at a step that is not there any
/// more waits.
pub struct Definition<DB: Db, T> {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step<DB>>,
    forward_from: Option<usize>,
    pub(crate) within: Option<Duration>,
    pub(crate) stuck_after: u32,
    data: std::marker::PhantomData<fn(T) -> T>,
}

impl<DB: Db, T: Serialize + DeserializeOwned + Send + Sync + 'static> Definition<DB, T> {
    /// A saga without steps.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let (steps, data) = (Vec::new(), std::marker::PhantomData);
        Self { name, steps, forward_from: None, within: None, stuck_after: STUCK_AFTER, data }
    }

    /// All steps are done within that time, or undone. Without, each step's own time counts.
    pub fn deadline(mut self, within: Duration) -> Self {
        self.within = Some(within);
        self
    }

    /// After how many tries to undo a step the saga is called stuck; it is tried on. Ten, if nothing is said.
    pub fn stuck_after(mut self, attempts: u32) -> Self {
        self.stuck_after = attempts;
        self
    }

    /// A step in the database's own transaction.
    pub fn local<F>(self, name: impl Into<String>, act: F) -> Self
    where
        F: for<'a> Fn(&'a mut Tx<DB>, &'a mut T) -> BoxFuture<'a, Result<(), StepError>> + Send + Sync + 'static,
    {
        self.step(name.into(), Run::Local(local(act)))
    }

    /// A step elsewhere; it is given the saga's id.
    pub fn remote<F>(self, name: impl Into<String>, act: F) -> Self
    where
        F: for<'a> Fn(&'a str, &'a mut T) -> BoxFuture<'a, Result<(), StepError>> + Send + Sync + 'static,
    {
        self.step(name.into(), Run::Remote(remote(act)))
    }

    /// How the last step is undone, in the database's own transaction.
    pub fn undo_local<F>(self, undo: F) -> Self
    where
        F: for<'a> Fn(&'a mut Tx<DB>, &'a mut T) -> BoxFuture<'a, Result<(), StepError>> + Send + Sync + 'static,
    {
        self.of_last(|step| step.undo = Some(Run::Local(local(undo))))
    }

    /// How the last step is undone, elsewhere; it is given the saga's id.
    pub fn undo_remote<F>(self, undo: F) -> Self
    where
        F: for<'a> Fn(&'a str, &'a mut T) -> BoxFuture<'a, Result<(), StepError>> + Send + Sync + 'static,
    {
        self.of_last(|step| step.undo = Some(Run::Remote(remote(undo))))
    }

    /// The longest of one try of the last step, to do or to undo it; 10 s, if nothing is said.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.of_last(|step| step.timeout = timeout)
    }

    /// For how long the last step is tried before everything is undone; a minute, if nothing is said.
    pub fn within(self, within: Duration) -> Self {
        self.of_last(|step| step.within = within)
    }

    /// How often the last step is tried, and how long after a try that failed: it doubles from `backoff` to
    /// `backoff_max`, half of it up to chance. As often as its time allows, from 100 ms to 10 s, if nothing is said.
    pub fn retry(self, attempts_max: u32, backoff: Duration, backoff_max: Duration) -> Self {
        let retry = Policy { attempts_max, backoff_ms: ms(backoff), backoff_ms_max: ms(backoff_max) };
        self.of_last(|step| step.retry = retry)
    }

    /// From the last step on there is only forward: what it does is not taken back, so neither it nor a step behind it is
    /// given up, whatever [`within`](Self::within), [`retry`](Self::retry) and [`deadline`](Self::deadline) say. Each is
    /// tried until it is done; a "no" is as [`StepError::Retry`] there.
    pub fn forward(mut self) -> Self {
        assert!(!self.steps.is_empty(), "a step was named before something is said of it");
        self.forward_from.get_or_insert(self.steps.len() - 1);
        self
    }

    fn step(mut self, name: String, act: Run<DB>) -> Self {
        let retry = Policy { attempts_max: u32::MAX, backoff_ms: 100, backoff_ms_max: 10_000 };
        let (timeout, within) = (Duration::from_secs(10), Duration::from_mins(1));
        self.steps.push(Step { name, act, undo: None, timeout, within, retry });
        self
    }

    fn of_last(mut self, change: impl FnOnce(&mut Step<DB>)) -> Self {
        let last = self.steps.last_mut().expect("a step was named before something is said of it");
        change(last);
        self
    }

    pub(crate) fn erase(self) -> Result<Erased<DB>, Error> {
        let Self { name, steps, forward_from, within, stuck_after, data: _ } = self;
        check_word("saga", &name)?;
        let invalid = |what, rule| Err(Error::Invalid { what, rule });
        if steps.is_empty() || steps.len() > STEPS_MAX {
            return invalid("steps", "a saga has 1 to 64");
        }
        for (at, step) in steps.iter().enumerate() {
            check_word("step", &step.name)?;
            if steps.iter().take(at).any(|before| before.name == step.name) {
                return invalid("step", "each has a name of its own");
            }
            if step.timeout.is_zero() || step.within.is_zero() || step.timeout.max(step.within) > WITHIN_MAX {
                return invalid("step", "its times are longer than nothing and at most 365 days");
            }
            if step.retry.attempts_max == 0 || step.retry.backoff_ms > step.retry.backoff_ms_max {
                return invalid("retry", "it is tried at least once, and `backoff` is at most `backoff_max`");
            }
        }
        if steps.iter().skip(forward_from.unwrap_or(steps.len())).any(|step| step.undo.is_some()) {
            return invalid("step", "from where there is only forward nothing is undone");
        }
        if within.is_some_and(|within| within.is_zero() || within > WITHIN_MAX) {
            return invalid("deadline", "it is longer than nothing and at most 365 days");
        }
        let plan = |step: &Step<DB>| StepPlan {
            is_local: matches!(step.act, Run::Local(_)),
            within_ms: ms(step.within),
            retry: step.retry,
        };
        let undo = Policy { attempts_max: stuck_after.max(1), backoff_ms: 100, backoff_ms_max: 60_000 };
        let plan = Plan { steps: steps.iter().map(plan).collect(), forward_from, undo };
        Ok(Erased { steps, plan, within })
    }
}

/// Reads data. What cannot be read is told without its words: they quote the data.
pub(super) fn read<T: DeserializeOwned>(data: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(data).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        serde::de::Error::custom(format!("the data are not what is read here: line {line}, column {column}"))
    })
}

fn local<DB: Db, T, F>(run: F) -> Arc<LocalRun<DB>>
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
    F: for<'a> Fn(&'a mut Tx<DB>, &'a mut T) -> BoxFuture<'a, Result<(), StepError>> + Send + Sync + 'static,
{
    let run = Arc::new(run);
    Arc::new(move |tx, data| {
        let run = Arc::clone(&run);
        Box::pin(async move {
            let mut data: T = read(data)?;
            run(tx, &mut data).await?;
            Ok(serde_json::to_string(&data)?)
        })
    })
}

fn remote<T, F>(run: F) -> Arc<RemoteRun>
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
    F: for<'a> Fn(&'a str, &'a mut T) -> BoxFuture<'a, Result<(), StepError>> + Send + Sync + 'static,
{
    let run = Arc::new(run);
    Arc::new(move |id, data| {
        let run = Arc::clone(&run);
        Box::pin(async move {
            let mut data: T = read(data)?;
            run(id, &mut data).await?;
            Ok(serde_json::to_string(&data)?)
        })
    })
}

impl<DB: Db> Clone for Run<DB> {
    fn clone(&self) -> Self {
        match self {
            Self::Local(run) => Self::Local(Arc::clone(run)),
            Self::Remote(run) => Self::Remote(Arc::clone(run)),
        }
    }
}

impl<DB: Db> Erased<DB> {
    pub(crate) fn step_name(&self, step: usize) -> &str {
        self.steps.get(step).map_or("", |step| &step.name)
    }
}

impl<DB: Db, T> fmt::Debug for Definition<DB, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<&String> = self.steps.iter().map(|step| &step.name).collect();
        f.debug_struct("Definition").field("name", &self.name).field("steps", &steps).finish_non_exhaustive()
    }
}
