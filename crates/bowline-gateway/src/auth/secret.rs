//! Secrets that stand elsewhere than in the route table.

use std::{
    env, fmt,
    io::{self, Read as _},
    path::Path,
};

use bowline_model::gateway::SecretSource;
use bowline_runtime::fs;

/// The shortest secret of HS256: as long as what it signs with (RFC 7518, 3.2).
pub(crate) const SECRET_BYTES_MIN: usize = 32;

/// The longest secret.
const SECRET_BYTES_MAX: usize = 64 * 1024;

/// A secret, which is never shown.
pub(crate) struct Secret(pub(crate) Vec<u8>);

/// Why a secret cannot be used. It does not tell the secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The environment variable is not set.
    #[error("the environment variable `{name}` is not set: set it where the gateway starts")]
    Unset {
        /// Its name.
        name: String,
    },
    /// The file cannot be read.
    #[error("the file `{path}` cannot be read")]
    Unreadable {
        /// Where it is.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Whoever guesses a short one can sign what they like.
    #[error(
        "the secret in {place} has {length} bytes: HS256 needs {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}, at random"
    )]
    Length {
        /// Where it stands.
        place: String,
        /// How long it is; of a file that is too long, how much of it was read.
        length: usize,
    },
}

impl Secret {
    /// Reads a secret from where it stands.
    pub(crate) fn read(source: &SecretSource) -> Result<Self, SecretError> {
        let bytes = match source {
            SecretSource::Env(name) => match env::var_os(name) {
                Some(value) => value.into_encoded_bytes(),
                None => return Err(SecretError::Unset { name: name.clone() }),
            },
            SecretSource::File(path) => read_file(Path::new(path), SECRET_BYTES_MAX)
                .map(without_line_end)
                .map_err(|source| SecretError::Unreadable { path: path.clone(), source })?,
        };
        if (SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(SecretError::Length { place: source.to_string(), length: bytes.len() })
        }
    }
}

/// A file's content, and at most one byte more than `bytes_max`.
pub(super) fn read_file(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    fs::File::open(path)?.take(bytes_max as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
}

fn without_line_end(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    bytes
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
