//! The instance set and its pickers: which instance gets the next attempt.
