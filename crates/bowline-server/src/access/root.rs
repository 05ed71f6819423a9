//! The root token: an administrator's credential in a file of the data folder, for its owner alone.
//!
//! Whoever may read the data folder's files as its owner may do everything anyway. The file is made at
//! the first start, and again whenever it is not what the store knows.

use std::{
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use bowline_model::{Code, Secret};
use bowline_runtime::fs;

use crate::secret;

/// The id of the root token.
pub(crate) const ROOT_ID: &str = "root";

/// The file's name in the data folder.
const FILE: &str = "root.token";

/// The most bytes of a file that is read.
const BYTES_MAX: u64 = 256;

/// What others than the owner may do with a file.
const OTHERS: u32 = 0o077;

/// Why the file is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootTokenError {
    /// There is none.
    #[error("there is no {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It is no regular file of ours, for us alone, that holds a root token.
    #[error("{} is not used: {rule}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// It cannot be read or written.
    #[error("{} cannot be used", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl RootTokenError {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::Missing { .. } => Code::NotFound,
            Self::Unusable { .. } | Self::Io { .. } => Code::FailedPrecondition,
        }
    }

    /// Never: somebody has to look after the file.
    #[expect(clippy::unused_self, reason = "every error answers this")]
    pub fn retryable(&self) -> bool {
        false
    }
}

/// Reads the root token of a data folder.
///
/// # Errors
/// When the file is missing, cannot be read, or is not used: it has to be a regular file of this user,
/// whom alone it lets read and write.
pub fn read_root_token(data_dir: &Path) -> Result<Secret, RootTokenError> {
    let path = data_dir.join(FILE);
    let io_error = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => RootTokenError::Missing { path: path.clone() },
        _ => RootTokenError::Io { path: path.clone(), source },
    };
    let unusable = |rule| RootTokenError::Unusable { path: path.clone(), rule };
    // Not what a link leads to, and before it is opened: a pipe would keep us waiting.
    let metadata = fs::symlink_metadata(&path).map_err(io_error)?;
    if !metadata.is_file() {
        return Err(unusable("it is no regular file"));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(unusable("it is another user's"));
    }
    if metadata.mode() & OTHERS != 0 {
        return Err(unusable("others can read it (its mode is not 0600); a restart of Bowline makes a new one"));
    }
    let mut text = String::new();
    let file = fs::File::open(&path).map_err(io_error)?;
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(io_error)?;
    let token = text.trim_end();
    match secret::token_id(token) {
        Some(ROOT_ID) => Ok(Secret::new(token)),
        _ => Err(unusable("it holds no root token")),
    }
}

/// Writes the root token of a data folder, in place of what is there.
pub(crate) fn write(data_dir: &Path, token: &Secret) -> Result<(), RootTokenError> {
    let path = data_dir.join(FILE);
    let content = format!("{}\n", token.expose());
    fs::replace_private(&path, content.as_bytes()).map_err(|source| RootTokenError::Io { path, source })
}

#[cfg(test)]
mod tests {
    use std::{fs as files, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn what_is_written_is_read_by_its_owner_alone() {
        let dir = bowline_testkit::temp_dir();
        let token = secret::new_token(ROOT_ID).unwrap();
        write(dir.path(), &token).unwrap();
        assert_eq!(read_root_token(dir.path()).unwrap(), token);
        assert_eq!(files::metadata(dir.path().join(FILE)).unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn what_is_not_as_it_was_made_is_not_used() {
        let dir = bowline_testkit::temp_dir();
        let file = dir.path().join(FILE);
        assert!(matches!(read_root_token(dir.path()), Err(RootTokenError::Missing { .. })));
        let token = secret::new_token(ROOT_ID).unwrap();
        let told = |what: &str| {
            let error = read_root_token(dir.path()).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("root.token"), "{error}");
            assert!(!error.contains(token.expose()), "{error}");
        };
        for mode in [0o640, 0o604, 0o660] {
            write(dir.path(), &token).unwrap();
            files::set_permissions(&file, files::Permissions::from_mode(mode)).unwrap();
            told("0600");
        }
        write(dir.path(), &secret::new_token("ab").unwrap()).unwrap();
        told("no root token");
        write(dir.path(), &Secret::new("x".repeat(10_000))).unwrap();
        told("no root token");
        write(dir.path(), &token).unwrap();
        files::rename(&file, dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &file).unwrap();
        told("no regular file");
        files::remove_file(&file).unwrap();
        files::create_dir(&file).unwrap();
        told("no regular file");
    }
}
