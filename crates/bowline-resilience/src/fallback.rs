//! The fallback: what is answered where nobody answers.
//!
//! It is the outermost of all patterns: it sees what came of all attempts, and refusals of every other pattern too. It
//! never makes a call itself that could fail, or take long: what is behind it is there already.

use bowline_model::policy::FallbackPolicy;

/// Runs a call and, where it failed, answers in its place.
///
/// # Errors
/// What the fallback makes of the failure.
///
/// # Cancel safety
/// As the call's.
#[inline]
pub async fn call<T, E, O>(
    call: impl Future<Output = Result<T, E>>,
    fallback: impl FnOnce(E) -> Result<T, O>,
) -> Result<T, O> {
    match call.await {
        Ok(answer) => Ok(answer),
        Err(error) => fallback(error),
    }
}

/// The answer of a [`FallbackPolicy`], ready to be given many times: what it holds is borrowed from the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Its status.
    pub status: u16,
    /// What the body is.
    pub content_type: &'a str,
    /// Its body.
    pub body: &'a str,
}

impl<'a> From<&'a FallbackPolicy> for Answer<'a> {
    fn from(policy: &'a FallbackPolicy) -> Self {
        let FallbackPolicy { status, body, content_type } = policy;
        Self { status: *status, content_type, body }
    }
}
