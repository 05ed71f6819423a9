//! Reads files of a workspace within bounds, and names them as people find them.

use std::{
    io::{self, Read as _},
    path::{Component, Path, PathBuf},
};

use bowline_runtime::fs;

/// The most of a file that is read, in bytes.
const BYTES_MAX: usize = 1 << 20;

/// Why a file is not looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    #[error("it has more than {} KiB", BYTES_MAX >> 10)]
    Long,
    #[error("it is not UTF-8")]
    Encoding,
}

/// The text of a file, of at most 1 MiB.
pub(super) fn text(path: &Path) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(Error::Read)?;
    file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(Error::Read)?;
    if bytes.len() > BYTES_MAX {
        return Err(Error::Long);
    }
    String::from_utf8(bytes).map_err(|_| Error::Encoding)
}

/// A path as it is written from that folder, with `/`. Both are absolute and without `..`.
pub(super) fn relative(dir: &Path, path: &Path) -> String {
    let shared = dir.components().zip(path.components()).take_while(|(a, b)| a == b).count();
    let up = dir.components().skip(shared).map(|_| Component::ParentDir);
    let relative: PathBuf = up.chain(path.components().skip(shared)).collect();
    if relative.as_os_str().is_empty() { ".".to_owned() } else { relative.to_string_lossy().into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_begin_at_the_folder_of_the_system() {
        let check = |dir: &str, path: &str, expect: &str| {
            assert_eq!(relative(Path::new(dir), Path::new(path)), expect, "{path} from {dir}");
        };
        check("/w", "/w/order/Cargo.toml", "order/Cargo.toml");
        check("/w/examples/shop", "/w/crates/a", "../../crates/a");
        check("/w/a", "/w/ab", "../ab");
        check("/w", "/w", ".");
    }
}
