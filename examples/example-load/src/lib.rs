//! What the load programs of the examples share: a client of the gateway, progress, latencies, the last word.
//!
//! What is asked, and what must be true afterwards, is each program's own.

mod host;
mod latencies;
mod progress;

pub use host::{ASKED_AGAIN_MAX, Connection, Host, PAUSE, Request};
pub use latencies::Latencies;
pub use progress::{Progress, quietly, rewrite, say};

/// How long a client waits after a failure: a gateway that is away would otherwise be asked as fast as it refuses.
pub const PAUSE_AFTER_FAILURE: std::time::Duration = std::time::Duration::from_millis(100);

/// What was not as it should be, where something was not: answers and audit are told apart, since a failed answer loses
/// nothing.
pub fn why(server_errors: u64, without_answer: u64, is_audit_good: bool) -> Option<String> {
    let answers = format!("{server_errors} answers were a 5xx and {without_answer} did not come");
    match (server_errors + without_answer, is_audit_good) {
        (0, true) => None,
        (0, false) => Some("the audit found a difference".to_owned()),
        (_, true) => Some(format!("{answers}; the audit found nothing lost")),
        (_, false) => Some(format!("{answers}, and the audit found a difference")),
    }
}

#[cfg(test)]
mod tests {
    use super::why;

    #[test]
    fn failed_answers_and_differences_are_told_apart() {
        assert_eq!(why(0, 0, true), None);
        assert_eq!(why(0, 0, false).unwrap(), "the audit found a difference");
        let answers = "1 answers were a 5xx and 2 did not come";
        assert_eq!(why(1, 2, true).unwrap(), format!("{answers}; the audit found nothing lost"));
        assert_eq!(why(1, 2, false).unwrap(), format!("{answers}, and the audit found a difference"));
    }
}
