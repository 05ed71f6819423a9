//! What replaces a set, and what does not.
