//! What a cache is asked by.

use std::{hash::Hash, sync::Arc};

/// A key of a cache: what it is in memory, and what it is called outside of this process.
pub trait Key: Hash + Ord + Clone + Send + Sync + 'static {
    /// Its name in the levels below memory and in invalidations: 1 to [`KEY_BYTES_MAX`](crate::KEY_BYTES_MAX) bytes.
    ///
    /// Different keys have different names.
    fn encode(&self) -> String;

    /// The key of that name; none where no key is called so.
    fn decode(text: &str) -> Option<Self>;

    /// About the bytes that it takes beside its own size.
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl Key for String {
    fn encode(&self) -> String {
        self.clone()
    }

    fn decode(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn heap_bytes(&self) -> usize {
        self.len()
    }
}

impl Key for Arc<str> {
    fn encode(&self) -> String {
        str::to_owned(self)
    }

    fn decode(text: &str) -> Option<Self> {
        Some(text.into())
    }

    fn heap_bytes(&self) -> usize {
        self.len()
    }
}

macro_rules! number {
    ($($number:ty),+) => {$(
        impl Key for $number {
            fn encode(&self) -> String {
                self.to_string()
            }

            fn decode(text: &str) -> Option<Self> {
                // `+7` and `007` would be further names of one key.
                text.parse().ok().filter(|number: &Self| number.to_string() == text)
            }
        }
    )+};
}

number!(u32, u64, u128, i32, i64, i128);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_name() {
        assert_eq!(u64::decode(&7_u64.encode()), Some(7));
        assert_eq!(
            (u64::decode("007"), u64::decode("+7"), u64::decode("x"), i64::decode("-7")),
            (None, None, None, Some(-7))
        );
        assert_eq!(String::decode("a b").as_deref(), Some("a b"));
    }
}
