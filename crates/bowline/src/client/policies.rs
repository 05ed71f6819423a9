//! Whose word counts about a call: what is declared may change, what the application set itself stays.

use bowline_model::policy::{BreakerPolicy, CallPolicy, RetryPolicy};
use bowline_runtime::time::Duration;

/// The declared policy of a call, and what the application replaced of it.
#[derive(Debug)]
pub(super) struct Policies {
    declared: CallPolicy,
    own: Own,
}

/// What the application set itself; absent: what is declared counts.
#[expect(clippy::option_option, reason = "that there is to be no retry is a word of the application, too")]
#[derive(Debug, Clone, Default)]
pub(super) struct Own {
    /// In the place of all that is declared.
    pub(super) whole: Option<CallPolicy>,
    pub(super) timeout: Option<Duration>,
    pub(super) retry: Option<Option<RetryPolicy>>,
    pub(super) breaker: Option<Option<BreakerPolicy>>,
}

impl Policies {
    pub(super) fn new(declared: CallPolicy) -> Self {
        Self { declared, own: Own::default() }
    }

    fn with(&self, declared: &CallPolicy, own: &Own) -> CallPolicy {
        let merged = self.own.clone().replaced_by(own.clone());
        let Own { whole, timeout, retry, breaker } = merged;
        let whole = whole.unwrap_or_else(|| declared.clone());
        CallPolicy {
            timeout: timeout.unwrap_or(whole.timeout),
            retry: retry.unwrap_or(whole.retry),
            breaker: breaker.unwrap_or(whole.breaker),
            ..whole
        }
    }

    /// What calls would go by if the application set that, too.
    pub(super) fn with_own(&self, own: &Own) -> CallPolicy {
        self.with(&self.declared, own)
    }

    /// What calls would go by if that were declared.
    pub(super) fn with_declared(&self, declared: &CallPolicy) -> CallPolicy {
        self.with(declared, &Own::default())
    }

    pub(super) fn set_own(&mut self, own: Own) {
        self.own = std::mem::take(&mut self.own).replaced_by(own);
    }

    pub(super) fn set_declared(&mut self, declared: CallPolicy) {
        self.declared = declared;
    }
}

impl Own {
    /// All of a policy.
    pub(super) fn all(policy: CallPolicy) -> Self {
        Self { whole: Some(policy), ..Self::default() }
    }

    fn replaced_by(self, other: Self) -> Self {
        if other.whole.is_some() {
            return other;
        }
        let Self { whole: _, timeout, retry, breaker } = other;
        Self {
            whole: self.whole,
            timeout: timeout.or(self.timeout),
            retry: retry.or(self.retry),
            breaker: breaker.or(self.breaker),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(timeout: u64) -> CallPolicy {
        CallPolicy { timeout: Duration::from_secs(timeout), ..CallPolicy::default() }
    }

    #[test]
    fn what_the_application_set_stays_whatever_is_declared() {
        let mut policies = Policies::new(policy(1));
        policies.set_own(Own { retry: Some(None), ..Own::default() });
        let declared = CallPolicy { breaker: None, ..policy(2) };
        assert_eq!(policies.with_declared(&declared), CallPolicy { retry: None, ..declared.clone() });
        policies.set_declared(declared.clone());
        // The last word of the application counts, and a whole policy is a word about all of it.
        policies.set_own(Own::all(policy(3)));
        assert_eq!(policies.with_declared(&policy(4)), policy(3));
        policies.set_own(Own { timeout: Some(Duration::from_secs(5)), ..Own::default() });
        assert_eq!(policies.with_declared(&declared), policy(5));
    }
}
