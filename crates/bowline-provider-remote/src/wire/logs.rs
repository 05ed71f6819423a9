//! Lines that services wrote, on the wire.

use bowline_model::InstanceId;
use serde::{Deserialize, Serialize};

/// `GET /v1/logs/{service}`: which lines are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[serde(deny_unknown_fields)]
pub struct LogsQuery {
    /// Of that instance alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Only those that came after, as the `next` of an earlier answer says; absent: the last ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// At most so many, 1 to 2000; 200 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", param(minimum = 1, maximum = 2000))]
    pub limit: Option<usize>,
}

impl LogsQuery {
    /// A path that asks with it.
    pub fn on(&self, target: &str) -> String {
        let Self { instance, after, limit } = self.clone();
        let pairs = [
            instance.map(|value| ("instance", value)),
            after.map(|value| ("after", value.to_string())),
            limit.map(|value| ("limit", value.to_string())),
        ];
        crate::path(target, pairs.into_iter().flatten())
    }
}

/// `GET /v1/logs/{service}`: lines of a service, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogList {
    /// The lines.
    pub lines: Vec<LogLine>,
    /// Ask again with it as `after`, to have the lines that come next. It goes on counting when Bowline is started anew.
    pub next: u64,
    /// Whether some were left off: with `after` later ones, which `next` leads to; without it earlier ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// Whether lines that came after `after` made room for later ones before they were asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_cut: bool,
}

/// A line that a process wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogLine {
    /// When it was read, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Whose process wrote it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub instance: InstanceId,
    /// To which of its outputs.
    pub stream: LogStream,
    /// The line, at most 16 KiB of it; more comes as a line of its own.
    pub text: String,
}

/// The two outputs of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
