//! What a value is outside of this process.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

/// The longest version of a codec, in bytes.
pub(crate) const VERSION_BYTES_MAX: usize = 64;

/// The version of the application's type, when its load began (milliseconds since 1970), and JSON; nothing at all in
/// its place where there is nothing. A zero byte ends each of the first two.
pub(crate) struct Codec<V> {
    version: String,
    encode: fn(&V) -> serde_json::Result<Vec<u8>>,
    decode: fn(&[u8]) -> serde_json::Result<V>,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decoded<V> {
    /// Or that there is nothing.
    pub(crate) value: Option<V>,
    /// When its load began, in milliseconds since 1970.
    pub(crate) began_unix: u64,
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
    pub(crate) fn encode(&self, value: Option<&V>, began_unix: u64) -> Option<Bytes> {
        let mut bytes = format!("{}\0{began_unix}\0", self.version).into_bytes();
        if let Some(value) = value {
            bytes.extend((self.encode)(value).ok()?);
        }
        Some(bytes.into())
    }

    pub(crate) fn decode(&self, bytes: &[u8]) -> Result<Decoded<V>, Foreign> {
        let mut parts = bytes.splitn(3, |byte| *byte == 0);
        let (Some(version), Some(began), Some(json)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Foreign);
        };
        let began_unix = str::from_utf8(began).ok().and_then(|began| began.parse().ok());
        let began_unix = began_unix.filter(|_| version == self.version.as_bytes()).ok_or(Foreign)?;
        let value = if json.is_empty() { None } else { Some((self.decode)(json).map_err(|_| Foreign)?) };
        Ok(Decoded { value, began_unix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_version_is_none() {
        let (one, other) = (Codec::<Vec<u8>>::json("1"), Codec::<Vec<u8>>::json("2"));
        let decoded = |value| Ok(Decoded { value, began_unix: 5 });
        let bytes = one.encode(Some(&vec![7]), 5).unwrap();
        assert_eq!((one.decode(&bytes), other.decode(&bytes)), (decoded(Some(vec![7])), Err(Foreign)));
        assert_eq!(one.decode(&one.encode(None, 5).unwrap()), decoded(None), "there is nothing");
        for bytes in [b"1\x005\0?".as_slice(), b"1\0x\0[7]", b"1\0[7]", b"1\0", b"1", b""] {
            assert_eq!(one.decode(bytes), Err(Foreign), "{bytes:?}");
        }
    }
}
