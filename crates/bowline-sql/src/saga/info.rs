//! What people are told of sagas.

use bowline_messaging::saga::Event;
use serde::{Deserialize, Serialize};

/// How many things that happened are kept of a saga; of more, the last ones.
pub const HISTORY_MAX: usize = 64;

/// The longest text of a failure that is kept.
pub(super) const FAILURE_BYTES_MAX: usize = 512;

/// What a saga is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its steps are done.
    Acting,
    /// Its steps are undone.
    Undoing,
    /// To undo a step has failed often; it is tried on.
    Stuck,
    /// Every step is done.
    Done,
    /// Everything is undone.
    Compensated,
}

/// What is known of a saga.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SagaInfo {
    /// Its id.
    pub id: String,
    /// Its definition.
    pub name: String,
    /// What it is at.
    pub phase: Phase,
    /// The step that is done or undone.
    pub step: Option<String>,
    /// How many tries of that failed.
    pub attempts: u32,
    /// When it is tried next, in milliseconds since 1970.
    pub due_ms: i64,
    /// When it began.
    pub begun_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// Why it is, or was, undone.
    pub reason: Option<String>,
    /// The trace that began it.
    pub trace_id: Option<String>,
    /// What happened, the last of it; in a list nothing.
    pub history: Vec<Happened>,
}

/// Something that happened to a saga.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// To which step.
    pub step: String,
    /// What.
    pub what: What,
    /// Why, where it failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<String>,
}

/// What happened to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It is done.
    Acted,
    /// A try failed.
    Failed,
    /// It said no.
    Refused,
    /// Its time was over.
    GaveUp,
    /// It is undone.
    Undone,
    /// A try to undo it failed.
    NotUndone,
}

/// Which sagas are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those of that definition.
    pub name: Option<String>,
    /// Those that are at that.
    pub phase: Option<Phase>,
    /// Those that began before that one of the page before: its `begun_ms` and `id`.
    pub before: Option<(i64, String)>,
}

impl Happened {
    /// What an event is in the history, if it is anything.
    pub(crate) fn of(event: Event, step: &str, failure: Option<&str>, at_ms: i64) -> Option<Self> {
        let what = match event {
            Event::Acted { .. } => What::Acted,
            Event::Failed { .. } => What::Failed,
            Event::Refused { .. } => What::Refused,
            Event::Undone { .. } => What::Undone,
            Event::NotUndone { .. } => What::NotUndone,
            Event::Look | Event::Resume | Event::Retry => return None,
        };
        Some(Self { at_ms, step: step.to_owned(), what, failure: failure.map(str::to_owned) })
    }
}

impl What {
    /// As it is named in spans.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Acted => "acted",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::GaveUp => "gave_up",
            Self::Undone => "undone",
            Self::NotUndone => "not_undone",
        }
    }
}
