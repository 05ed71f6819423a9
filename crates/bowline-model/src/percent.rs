//! Percent-encoding, as URLs have it.

use std::fmt::Write as _;

/// Percent-encodes all but RFC 3986's unreserved characters and those of `also`, which mean nothing else where the text
/// is to stand.
pub fn encode(text: &str, also: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _infallible = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
