//! What holds of the console's files, as they are sent.

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be made fails its test")]

mod scripts;
