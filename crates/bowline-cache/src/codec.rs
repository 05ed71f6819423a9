//! What a value is outside of this process.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

/// The longest version of a codec, in bytes.
pub(crate) const VERSION_BYTES_MAX: usize = 64;

/// JSON behind the version of the application's type, and nothing at all behind it where there is nothing.
pub(crate) struct Codec<V> {
    version: String,
    encode: fn(&V) -> serde_json::Result<Vec<u8>>,
    decode: fn(&[u8]) -> serde_json::Result<V>,
}

/// It was written by another version, or makes no sense.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Foreign;

impl<V> Codec<V> {
    pub(crate) fn json(version: &str) -> Self
    where
        V: Serialize + DeserializeOwned,
    {
        Self {
            version: version.to_owned(),
            encode: |value| serde_json::to_vec(value),
            decode: |bytes| serde_json::from_slice(bytes),
        }
    }

    pub(crate) fn is_good(&self) -> bool {
        (1..=VERSION_BYTES_MAX).contains(&self.version.len()) && !self.version.contains('\0')
    }

    /// None where the value has no form in JSON.
    pub(crate) fn encode(&self, value: Option<&V>) -> Option<Bytes> {
        let mut bytes = [self.version.as_bytes(), b"\0"].concat();
        if let Some(value) = value {
            bytes.extend((self.encode)(value).ok()?);
        }
        Some(bytes.into())
    }

    /// What it is, or that there is nothing.
    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<Option<V>, Foreign> {
        let rest = bytes.strip_prefix(self.version.as_bytes()).and_then(|rest| rest.strip_prefix(b"\0"));
        match rest.ok_or(Foreign)? {
            [] => Ok(None),
            json => (self.decode)(json).map(Some).map_err(|_| Foreign),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_version_is_none() {
        let (one, other) = (Codec::<Vec<u8>>::json("1"), Codec::<Vec<u8>>::json("2"));
        let bytes = one.encode(Some(&vec![7])).unwrap();
        assert_eq!((one.decode(&bytes), other.decode(&bytes)), (Ok(Some(vec![7])), Err(Foreign)));
        assert_eq!(one.decode(&one.encode(None).unwrap()), Ok(None), "there is nothing");
        for bytes in [b"1\0?".as_slice(), b"1", b""] {
            assert_eq!(one.decode(bytes), Err(Foreign), "{bytes:?}");
        }
    }
}
