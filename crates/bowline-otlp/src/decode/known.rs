//! Names that many spans have: they are not copied.

use bowline_telemetry::Key;

/// The text as a key.
pub(super) fn key(text: &str) -> Key {
    Key::Owned(text.to_owned())
}
