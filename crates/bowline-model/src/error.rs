//! What every error of every crate can be asked.

use std::error::Error;

/// An error with its causes, outermost first: for the log, never for a caller.
///
/// ```
/// # use bowline_model::error::chain;
/// let error = std::io::Error::other("the disk is gone");
/// assert_eq!(chain(&error), "the disk is gone");
/// ```
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        text.push_str(": ");
        text.push_str(&current.to_string());
        cause = current.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    #[test]
    fn causes_follow_what_they_caused() {
        let disk = Link { text: "no space", source: None };
        let store = Link { text: "cannot write", source: Some(Box::new(disk)) };
        let request = Link { text: "request failed", source: Some(Box::new(store)) };
        assert_eq!(chain(&request), "request failed: cannot write: no space");
    }
}
